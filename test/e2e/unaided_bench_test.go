package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"physgdb/test/session"
)

// BenchmarkSymbols measures the command that makes the file for a machine without a vmlinux: from a
// mapped file, and through the software adapter with a delay. bridge-bytes is the number of bytes
// read from the machine. "kept" is a command that needs symbols when the file is cached and is
// compared with memory, "trusted" the same without the comparison.
func BenchmarkSymbols(b *testing.B) {
	for _, h := range []*host{hosts[0], hosts[3]} {
		h.ready(b)
		b.Run("kernel="+h.config.Release, func(b *testing.B) {
			b.Run("what=file", func(b *testing.B) { makeSymbols(b, h.guest.Source()) })
			b.Run("what=nettlp-15us", func(b *testing.B) { makeSymbols(b, adapter(b, h, "--delay", "15us")) })
			b.Run("what=kept", func(b *testing.B) { useKept(b, h.guest.Source()) })
			b.Run("what=trusted", func(b *testing.B) { useKept(b, h.guest.Source(), "--trust-build-id") })
			b.Run("what=nettlp-15us-kept", func(b *testing.B) { useKept(b, adapter(b, h, "--delay", "15us")) })
			b.Run("what=nettlp-15us-trusted", func(b *testing.B) { useKept(b, adapter(b, h, "--delay", "15us"), "--trust-build-id") })
		})
	}
}

var bridgeCosts = regexp.MustCompile(`bridge: (\d+) reads in \d+ batches, ([0-9.]+) (\S+?)(;|\n)`)

func useKept(b *testing.B, source string, args ...string) {
	args = append([]string{"vtop", source, "linux_banner", "--symbols", "ram"}, args...)
	run(b, args...)
	b.ResetTimer()
	for range b.N {
		run(b, args...)
	}
}

func makeSymbols(b *testing.B, source string) {
	out := filepath.Join(b.TempDir(), "vmlinux.synth")
	var peak int64
	var r *session.Result
	for range b.N {
		b.StopTimer()
		forgetKept(b)
		b.StartTimer()
		r = run(b, "symbols", source, "-o", out)
		peak = max(peak, r.PeakMemory)
	}
	info, err := os.Stat(out)
	m := bridgeCosts.FindStringSubmatch(r.Stderr)
	if err != nil || m == nil {
		b.Fatalf("%v %q", err, r.Stderr)
	}
	reads, _ := strconv.ParseFloat(m[1], 64)
	bytes, _ := strconv.ParseFloat(m[2], 64)
	b.ReportMetric(reads, "bridge-reads")
	b.ReportMetric(bytes*map[string]float64{"MiB": 1 << 20, "KiB": 1 << 10}[m[3]], "bridge-bytes")
	b.ReportMetric(float64(info.Size()), "file-bytes")
	b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
}

// BenchmarkFirstStruct measures gdb from its start to the first variable and the first backtrace:
// with the real vmlinux, with a cached index of it, with the file made from memory, and without a
// file, so that gdb fetches it through the stub. With the real vmlinux gdb finds a member of
// init_task in one unit of many; for a pointer to it, as for most types, it reads all units if it
// has no index.
func BenchmarkFirstStruct(b *testing.B) {
	for _, h := range []*host{hosts[0], hosts[3]} {
		h.ready(b)
		b.Run("kernel="+h.config.Release, func(b *testing.B) {
			made := filepath.Join(b.TempDir(), "vmlinux.synth")
			run(b, "symbols", h.guest.Source(), "-o", made)
			address := h.unaided(b)
			for _, f := range []struct {
				what, file string
				args       []string
			}{
				{"vmlinux", h.guest.Kernel.Vmlinux, nil}, {"indexed", h.guest.Kernel.Vmlinux, session.IndexCache()},
				{"made", made, nil}, {"none", "", nil},
			} {
				firstStruct(b, f.file, address, "p 0", f.args...) // to create the index
				for name, first := range map[string]string{"member": "p init_task.comm", "pointer": "p &init_task"} {
					b.Run("first="+name+"/what="+f.what, func(b *testing.B) {
						var peak int64
						for range b.N {
							peak = max(peak, firstStruct(b, f.file, address, first, f.args...))
						}
						b.ReportMetric(float64(peak)/(1<<20), "peak-MiB")
					})
				}
			}
		})
	}
}

// firstStruct returns gdb's memory use, in bytes.
func firstStruct(b *testing.B, file, address, first string, args ...string) int64 {
	args = append([]string{"-nx", "-batch", "-iex", "set auto-load no"}, args...)
	if file != "" {
		args = append(args, file)
	}
	ctx, cancel := context.WithTimeout(b.Context(), 3*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "gdb", append(args, "-ex", "target remote "+address, "-ex", first, "-ex", "p init_task.comm", "-ex", "bt")...)
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "swapper/0") || !strings.Contains(string(out), "ksys_write") {
		b.Fatalf("%v\n%s", err, out)
	}
	return cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss << 10
}
