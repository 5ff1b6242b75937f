package e2e

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"physgdb/test/session"
)

// TestRecognisedAsQEMU executes the gdb commands of gef for whole machines in QEMU: it detects such
// a machine and reads page tables in physical memory. The expected contents come from QEMU's
// monitor.
func TestRecognisedAsQEMU(t *testing.T) {
	onTwo(t, func(t *testing.T, h *host) {
		qemu := h.registers(t, h.guest.Facts.PanicCPU)
		entry := qemu["cr3"]&^0xfff + 511*8 // of the kernel's own addresses
		const bits, offsets, cr4 = "maintenance packet Qqemu.sstepbits", "maintenance packet qOffsets", "p/x $cr4"
		read := fmt.Sprintf("x/1gx %#x", entry)
		steps := gdb(t, "", h.unaided(t), bits, offsets, cr4, "maintenance packet Qqemu.PhyMemMode:1", "maint flush dcache", read,
			"maintenance packet Qqemu.PhyMemMode:0", "maint flush dcache", "x/s linux_banner", "monitor info registers")
		if out := session.Find(steps, bits); !strings.Contains(out, `received: "ENABLE=`) {
			t.Errorf("%s: %q", bits, out)
		}
		if out := session.Find(steps, offsets); !strings.Contains(out, `received: ""`) {
			t.Errorf("%s: %q", offsets, out)
		}
		if got, want := session.Value(session.Find(steps, cr4)), fmt.Sprintf("%#x", qemu["cr4"]); got != want {
			t.Errorf("$cr4 is %s, QEMU has %s", got, want)
		}
		monitor, err := h.guest.HMPOn(limited(t, time30s), h.guest.Facts.PanicCPU, "info registers")
		if err != nil {
			t.Fatal(err)
		}
		idt := regexp.MustCompile(`IDT= +[0-9a-f]+ [0-9a-f]+`)
		if got, want := idt.FindString(session.Find(steps, "monitor info registers")), idt.FindString(monitor); got != want || want == "" {
			t.Errorf("monitor info registers: %q, QEMU has %q", got, want)
		}
		out, err := h.guest.HMP(limited(t, time30s), fmt.Sprintf("xp /1gx %#x", entry))
		if err != nil {
			t.Fatal(err)
		}
		_, want, _ := strings.Cut(strings.TrimSpace(out), ": ")
		if _, got, _ := strings.Cut(session.Find(steps, read), ":\t"); got != want || want == "" {
			t.Errorf("%s: %q, QEMU has %q", read, got, want)
		}
		if out := session.Find(steps, "x/s linux_banner"); !strings.Contains(out, "Linux version "+h.guest.Facts.Release) {
			t.Errorf("afterwards, the kernel's banner is %q", out)
		}
	})
}
