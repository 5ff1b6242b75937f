package host

import (
	"strings"
	"testing"

	"physgdb/symbols/linux/klog"

	"physgdb/symbols"
)

// TestReportOfLittle checks that a report goes on where something is not known, and says so.
func TestReportOfLittle(t *testing.T) {
	r := newRig(t, 4)
	var got strings.Builder
	must(t, r.attachWithVmlinux(t).WriteReport(ctx, &got))
	for _, want := range []string{
		"kernel        Linux version 6.1 (test)\n", "build-id      cafebabe\n", "host          not known: ",
		"command line  not known: the kernel has no symbol saved_command_line\n", "died          not known: ",
		"up            not known: ", "taint         not known: ", "KASLR         0x1c000000 from 0xffffffff81000000\n",
		"\nModules linked in: not known: ", "\nTasks: not known: ", "\nLog: not known: ",
	} {
		if !strings.Contains(got.String(), want) {
			t.Errorf("no %q in\n%s", want, got.String())
		}
	}
	err := r.attach(t, Options{}).WriteReport(ctx, &got)
	wantError(t, err, "report: the kernel's symbols are not known: kallsyms: ")
}

func TestLastWords(t *testing.T) {
	log := func(n int, said map[int]string) []klog.Record {
		records := make([]klog.Record, n)
		for i, text := range said {
			records[i].Text = text
		}
		return records
	}
	for _, tc := range []struct {
		name string
		log  []klog.Record
		want int
	}{
		{"none", nil, 0},
		{"a short one", log(20, nil), 0},
		{"a long one", log(120, nil), 70},
		{"an oops long before", log(120, map[int]string{30: "Oops: Oops: 0002 [#1] PREEMPT SMP PTI"}), 22},
		{"an oops of older kernels", log(120, map[int]string{30: "invalid opcode: 0000 [#1] PREEMPT SMP"}), 22},
		{"an oops among the last", log(120, map[int]string{100: "Oops: 0000 [#1]"}), 70},
		{"an oops at the start", log(120, map[int]string{3: "Oops: 0000 [#1]"}), 0},
		{"the first of two", log(120, map[int]string{30: "Oops: 0000 [#1]", 60: "Oops: 0000 [#2]"}), 22},
		{"what only looks like one", log(120, map[int]string{30: "usb [#1] connected"}), 70},
	} {
		if got := lastWords(tc.log); got != tc.want {
			t.Errorf("%s: from %d on, want %d", tc.name, got, tc.want)
		}
	}
}

func TestKernelNamesOfRegisters(t *testing.T) {
	for reg, want := range map[symbols.Reg]string{
		symbols.RAX: "RAX", symbols.R8: "R08", symbols.R15: "R15", symbols.RDI: "RDI",
	} {
		if got := kernelName(reg); got != want {
			t.Errorf("%s, want %s", got, want)
		}
	}
}
