package guest

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// deaths are the expected results for the logs in testdata/log. Frames are in the format of marked.
var deaths = map[string]struct {
	want    Death // without frames
	rip     string
	frames  string
	blocked string
}{
	"6.12-oops": {
		want: Death{
			PanicMessage: "Fatal exception", PanicCPU: 1, PanicPID: 136, PanicComm: "init", Taint: "G           OE",
			Slide: 0x1ea00000, Uptime: 10669406 * time.Microsecond,
			OopsRegisters: map[string]uint64{
				"rax": 0xffffffffc04e10e0, "rbx": 0, "rcx": 0, "rdx": 0, "rsi": 0xffffffffc04e5115, "rdi": 0, "rbp": 4,
				"r8": 0xff47e90100473c88, "r9": 0, "r10": 0, "r11": 0, "r12": 0xff13c27241a94780, "r13": 0xff47e90100473d68,
				"r14": 0x000021fabc14dd00, "r15": 0xff13c27242654200, "rsp": 0xff47e90100473c70, "eflags": 0x246,
				"fs": 0, "fs_base": 0x000021fabbc42890, "gs": 0, "gs_base": 0xff13c2724ef00000, "kernel_gs_base": 0,
				"cs": 0x10, "ss": 0x18, "ds": 0, "es": 0, "cr0": 0x80050033, "cr2": 0x18, "cr3": 0x272a000, "cr4": 0x751ef0,
				"pkru": 0x55555554,
			},
		},
		rip: "oops_inner+0x5/0x10[trouble]*",
		frames: `TASK:oops_middle+0xa/0x20[trouble] TASK:oops_outer+0x10/0x20[trouble] TASK:trouble_write+0xb8/0xe0[trouble]
			TASK:proc_reg_write+0x5a/0xa0 TASK:vfs_write+0xf8/0x450 TASK:ksys_write+0x6f/0xf0 TASK:do_syscall_64+0x87/0x180
			TASK:entry_SYSCALL_64_after_hwframe+0x76/0x7e`,
	},
	"6.1-bug": {
		want: Death{
			PanicMessage: "Fatal exception", PanicCPU: 1, PanicPID: 1, PanicComm: "init", Taint: "G           OE",
			Slide: 0x1e00000, Uptime: 14377359 * time.Microsecond,
			OopsRegisters: map[string]uint64{
				"rax": 1, "rbx": 0x10, "rcx": 0, "rdx": 0, "rsi": 0xffffffffc02b0186, "rdi": 0xffffcd9b00013d48, "rbp": 3,
				"r8": 1, "r9": 0, "r10": 0, "r11": 0, "r12": 0xffffcd9b00013e28, "r13": 0x00000adcea9b7d00,
				"r14": 0xffff8b1a41fbd000, "r15": 0, "rsp": 0xffffcd9b00013d30, "eflags": 0x202,
				"fs": 0, "fs_base": 0x657f68, "gs": 0, "gs_base": 0xffff8b1a4f100000, "kernel_gs_base": 0,
				"cs": 0x10, "ss": 0x18, "ds": 0, "es": 0, "cr0": 0x80050033, "cr2": 0x00007f0611877400, "cr3": 0xf966000,
				"cr4": 0x750ea0, "pkru": 0x55555554,
			},
		},
		rip: "bug_inner+0x17/0x20[trouble]*",
		frames: `TASK:bug_middle+0xa/0x20[trouble] TASK:bug_outer+0xa/0x20[trouble] TASK:trouble_write+0xb4/0xd0[trouble]
			TASK:proc_reg_write+0x56/0xa0 TASK:vfs_write+0xc7/0x3f0 TASK:ksys_write+0x6b/0xf0 TASK:do_syscall_64+0x5d/0x90
			TASK:entry_SYSCALL_64_after_hwframe+0x6e/0xd8`,
	},
	"6.1-hung": {
		want: Death{
			PanicMessage: "hung_task: blocked tasks", PanicCPU: 1, PanicPID: 28, PanicComm: "khungtaskd",
			Taint: "G           OE", Slide: 0x7e00000, Uptime: 9373938 * time.Microsecond,
		},
		frames: `TASK:dump_stack_lvl+0x44/0x5c TASK:panic+0x118/0x2f4 TASK:watchdog.cold+0xc/0xbb TASK:kthread+0xda/0x100
			TASK:ret_from_fork+0x22/0x30`,
		blocked: `__schedule schedule hang_inner hang_middle hang_outer trouble_write proc_reg_write vfs_write ksys_write
			do_syscall_64 entry_SYSCALL_64_after_hwframe`,
	},
	"6.1-irq": {
		want: Death{
			PanicMessage: "trouble in an interrupt", PanicCPU: 1, PanicPID: 0, PanicComm: "swapper/1",
			Taint: "G           OE", Slide: 0x21e00000, Uptime: 16369069 * time.Microsecond,
		},
		frames: `IRQ:dump_stack_lvl+0x44/0x5c IRQ:panic+0x118/0x2f4 IRQ:irq_inner.cold+0xc/0xb47[trouble]
			IRQ:irq_middle+0xa/0x20[trouble] IRQ:irq_outer+0x68/0x80[trouble] IRQ:__hrtimer_run_queues+0x10d/0x250
			IRQ:hrtimer_interrupt+0xf4/0x210 IRQ:__sysvec_apic_timer_interrupt+0x5d/0x110
			IRQ:sysvec_apic_timer_interrupt+0x69/0x90 TASK:asm_sysvec_apic_timer_interrupt+0x16/0x20
			TASK:native_safe_halt+0xb/0x10* TASK:amd_e400_idle+0x3d/0x50 TASK:default_idle_call+0x38/0xf0
			TASK:do_idle+0x206/0x2b0 TASK:cpu_startup_entry+0x26/0x30 TASK:start_secondary+0x12a/0x150
			TASK:secondary_startup_64_no_verify+0xe4/0xeb`,
	},
	"6.12-irq-user": {
		want: Death{
			PanicMessage: "trouble in an interrupt", PanicCPU: 1, PanicPID: 156, PanicComm: "spinner",
			Taint: "G           OE", Slide: 0x21200000, Uptime: 12079247 * time.Microsecond,
		},
		frames: `TASK:panic+0x344/0x3a0 TASK:irq_inner+0x23/0x30[trouble] TASK:irq_middle+0xa/0x20[trouble]
			TASK:irq_outer+0x2c/0x80[trouble] TASK:__hrtimer_run_queues+0x10d/0x250 TASK:hrtimer_interrupt+0xfa/0x230
			TASK:__sysvec_apic_timer_interrupt+0x58/0x120 TASK:sysvec_apic_timer_interrupt+0x38/0x90
			TASK:asm_sysvec_apic_timer_interrupt+0x1a/0x20`,
	},
	// Not from a real machine: callers in the stamps, several traces, no taint, no KASLR.
	"made-up": {
		want: Death{
			PanicMessage: "sysrq: \"c\" (crash)", PanicCPU: 3, PanicPID: 7, PanicComm: "a Comm: b",
			Uptime: 7800 * time.Millisecond,
		},
		frames: `IRQ:dump_stack_lvl+0x45/0x5e :between+0x1/0x2 TASK:write.cold+0x5/0x18[mod]
			TASK:entry_SYSCALL_64_after_hwframe+0x6e/0xd8`,
	},
}

func TestParseDeath(t *testing.T) {
	for name, c := range deaths {
		t.Run(name, func(t *testing.T) {
			got := ParseDeath(recorded(t, name))
			rip := ""
			if got.OopsRIP != nil {
				rip = marked([]Frame{*got.OopsRIP})
			}
			texts := []struct{ what, got, want string }{
				{"RIP of the oops", strings.TrimPrefix(rip, ":"), c.rip},
				{"frames", marked(got.Frames), strings.Join(strings.Fields(c.frames), " ")},
				{"trace of the blocked task", strings.Join(got.BlockedTrace, " "), strings.Join(strings.Fields(c.blocked), " ")},
			}
			for _, text := range texts {
				if text.got != text.want {
					t.Errorf("%s:\ngot  %s\nwant %s", text.what, text.got, text.want)
				}
			}
			for i, f := range got.Frames {
				if got.CallTrace[i] != f.Function {
					t.Errorf("call trace %q differs from frames %+v", got.CallTrace, got.Frames)
				}
			}
			got.Frames, got.CallTrace, got.OopsRIP, got.BlockedTrace = nil, nil, nil, nil
			if diff := cmp.Diff(c.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func recorded(t testing.TB, name string) []LogLine {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "log", name+".log"))
	if err != nil {
		t.Fatal(err)
	}
	return ParseKernelLog(string(data))
}

// marked formats frames as "STACK:function+0x1/0x2[module]", with a star for an interrupted
// function.
func marked(frames []Frame) string {
	var all []string
	for _, f := range frames {
		text := fmt.Sprintf("%s:%s+%#x/%#x", f.Stack, f.Function, f.Offset, f.Size)
		if f.Module != "" {
			text += "[" + f.Module + "]"
		}
		if f.Interrupted {
			text += "*"
		}
		all = append(all, text)
	}
	return strings.Join(all, " ")
}

func TestParseDeathWithoutPanic(t *testing.T) {
	log := ParseKernelLog("[    1.000000] Linux version 6.12\n[    2.500000] Call Trace:\n[    2.500000]  fn+0x1/0x2\n")
	if diff := cmp.Diff(Death{Uptime: 2500 * time.Millisecond}, ParseDeath(log)); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(Death{}, ParseDeath(nil)); diff != "" {
		t.Error(diff)
	}
}

// FuzzParseDeath checks that all parts of the result are in the log.
func FuzzParseDeath(f *testing.F) {
	for name := range deaths {
		data, err := os.ReadFile(filepath.Join("testdata", "log", name+".log"))
		if err != nil {
			f.Fatal(err)
		}
		f.Add(string(data))
	}
	f.Fuzz(func(t *testing.T, serial string) {
		d := ParseDeath(ParseKernelLog(serial))
		for _, name := range append(append(d.CallTrace, d.BlockedTrace...), d.PanicMessage, d.PanicComm, d.Taint) {
			if !strings.Contains(serial, name) {
				t.Errorf("%q is not in the log", name)
			}
		}
	})
}
