package session

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPrintedNames is on what gdb 13 and physgdb bt printed of an interrupt and of a system call.
func TestPrintedNames(t *testing.T) {
	for _, tc := range []struct {
		name, bt string
		printed  func(string) []string
		want     []string
	}{
		{"of gdb, without what it makes up of user space", `
#0  0xffffffffbb9cd215 in panic (fmt=<optimized out>)
#1  0xffffffffc04d0263 in irq_inner () from target:/from-memory/trouble.ko
#2  0xffffffffbb9f4ac9 in __handle_sysrq.cold ()
#3  pde_write (pde=0x0) at fs/proc/inode.c:340
#4  <signal handler called>
#5  0xffffffffbbc00126 in entry_SYSCALL_64_after_hwframe ()
#6  0x000000000040a74e in ?? ()
Backtrace stopped: previous frame inner to this frame (corrupt stack?)
`, PrintedByGDB, []string{"panic", "irq_inner", "__handle_sysrq.cold", "pde_write", "entry_SYSCALL_64_after_hwframe"}},
		{"of physgdb, without inlined functions", `
PID: 1  TID: 136  TASK: 0xff13c27242654200  CPU: 1  STATE: panicked  COMM: "init"  REGISTERS: the oops
#0  [0xff47e90100473c70] oops_inner+0x5/0x10 [trouble] at 0xffffffffc04e1095
#1                      pde_write (inlined) (fs/proc/inode.c:330)
#1  [0xff47e90100473cb8] proc_reg_write+0x5a/0xa0 at 0xffffffff9fefd78a (fs/proc/inode.c:342)
 user: RIP 0x40a74e  RSP 0x21fabc14da50  system call 1
`, PrintedByPhysgdb, []string{"oops_inner", "proc_reg_write"}},
	} {
		if diff := cmp.Diff(tc.want, tc.printed(tc.bt)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tc.name, diff)
		}
	}
}
