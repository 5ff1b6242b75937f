package machine

import (
	"cmp"
	"context"
	"errors"
	"fmt"

	"physgdb/cmd/internal/progress"
	"physgdb/internal/plain"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/find"
)

// neighbour is another kernel in the memory of the machine that is shown.
type neighbour struct {
	what   string // in words: what it is, or why it was not found
	option string // by which it is chosen; empty if it was not found
}

func (n *neighbour) String() string {
	if n.option == "" {
		return n.what
	}
	return fmt.Sprintf("%s; give %s to see it", n.what, n.option)
}

// preferWanted takes the kernel that the user wants where memory holds two: of a kdump the one that
// panicked, not the one that captures the dump; after a reboot by kexec the one that runs. A kernel
// that the user chose stays.
func (m *Machine) preferWanted(ctx context.Context, o *Options) error {
	if m.Kernel.Symbols == nil {
		return nil
	}
	how, err := find.HandoverOf(ctx, m.Kernel)
	switch {
	case err != nil:
		m.Log.Info("cannot check whether memory contains another kernel", "error", err)
		return ctx.Err()
	case how != find.CapturesDump && how != find.StartedNext:
		return nil
	}
	found := m.Kernel
	other, err := m.findOther(ctx, o, how)
	switch {
	case err != nil:
		m.other = &neighbour{what: missed(how, err)}
		m.Log.Warn("memory contains another kernel", "which", m.other)
		return ctx.Err()
	case m.chosenKernel(o):
		m.other = m.describe(ctx, other, wantedRole(how))
		return nil
	}
	m.other = m.describe(ctx, found, role(how))
	m.Log.Warn("memory contains two kernels", "shown", wantedRole(how), "other", m.other)
	return m.change(ctx, o, other)
}

// chosenKernel reports whether the user, or a notice of the machine, said where the kernel is that
// was found.
func (m *Machine) chosenKernel(o *Options) bool {
	return o.CR3 != "" || m.Kernel.FoundBy == linux.ByCR3 || m.Kernel.FoundBy == linux.ByVMCoreInfo
}

// findOther looks for the kernel with which the one that was found shares memory.
func (m *Machine) findOther(ctx context.Context, o *Options, how find.Handover) (*linux.Kernel, error) {
	fo := m.findOptions()
	fo.Quick = o.quick
	shown := progress.New(o.Notes, "looking for the other kernel")
	defer shown.End()
	fo.Progress = shown.Show
	return find.Other(ctx, newWalker(m.Memory), m.Memory.guard, fo, m.Kernel, how)
}

// change goes over to another kernel, which may be of another build.
func (m *Machine) change(ctx context.Context, o *Options, k *linux.Kernel) error {
	m.take(k)
	if k.Symbols != nil {
		return nil // the vmlinux that the user named is its own
	}
	old := m.vmlinux
	m.vmlinux = nil
	return cmp.Or(m.explain(ctx, o), old.close())
}

// describe says what another kernel is and how to choose it.
func (m *Machine) describe(ctx context.Context, k *linux.Kernel, role string) *neighbour {
	n := &neighbour{what: role, option: fmt.Sprintf("--cr3 %#x", k.Root.CR3)}
	if note, err := k.NotePlace(ctx); err == nil {
		n.option = fmt.Sprintf("--vmcoreinfo %#x", uint64(note))
	}
	if k.Symbols != nil {
		n.what += ", Linux " + plain.Line(releaseIn(k.Banner(ctx)))
	}
	return n
}

// role says what a kernel is that knows of a handover; wantedRole says what the other one is.
func role(how find.Handover) string {
	if how == find.StartedNext {
		return "the kernel that ran before a reboot by kexec"
	}
	return "the capture kernel that kdump started"
}

func wantedRole(how find.Handover) string {
	switch how {
	case find.StartedNext:
		return "the kernel that runs since a reboot by kexec"
	case find.MayBeCaptured:
		return role(find.CapturesDump)
	}
	return "the kernel that panicked"
}

// missed says why the other kernel of a handover is not shown.
func missed(how find.Handover, err error) string {
	return fmt.Sprintf("not shown is %s: %v", wantedRole(how), err)
}

// OtherKernel describes the other kernel in memory, or returns "". A capture kernel is looked for
// when it is asked after, and not before.
func (m *Machine) OtherKernel(ctx context.Context) string {
	if m.other != nil {
		return m.other.String()
	}
	if m.Kernel.Symbols == nil {
		return ""
	}
	if how, err := find.HandoverOf(ctx, m.Kernel); err != nil || how != find.MayBeCaptured {
		return ""
	}
	other, err := m.findOther(ctx, &Options{}, find.MayBeCaptured)
	if none := (*find.NotFoundError)(nil); errors.As(err, &none) {
		return ""
	} else if err != nil {
		return missed(find.MayBeCaptured, err)
	}
	if known, err := other.With(ctx, m.vmlinux.Table, m.vmlinux.debug()); err == nil {
		other = known // of the same build, as is usual
	}
	return m.describe(ctx, other, wantedRole(find.MayBeCaptured)).String()
}
