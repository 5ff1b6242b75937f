package linux

import (
	"context"
	"errors"
	"fmt"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
	"physgdb/symbols/btf"
	"physgdb/symbols/elfsynth"
)

// Types returns the layout of the kernel's data: from its vmlinux or, where that tells none, from the kernel's own BTF in
// memory.
func (k *Kernel) Types(ctx context.Context) (symbols.Types, error) {
	return k.types.Get(ctx, k.readTypes)
}

var errNoTypes = errors.New("the kernel's types are not known (give --vmlinux FILE, one with debug information): no file tells them")

func (k *Kernel) readTypes(ctx context.Context) (symbols.Types, error) {
	if k.debug != nil {
		if t, err := k.debug.Types(); err == nil {
			return t, nil
		}
	}
	raw, _, err := k.readBetween(ctx, "__start_BTF", "__stop_BTF", elfsynth.MaxBTF)
	if err != nil {
		return nil, fmt.Errorf("%w, and in memory: %w", errNoTypes, err)
	}
	types, err := btf.New(raw)
	if err != nil {
		return nil, fmt.Errorf("%w, and in memory: %w", errNoTypes, err)
	}
	return types, nil
}

// StructOf looks up the members of a kernel struct; see [kmem.Struct].
func StructOf[T any](ctx context.Context, k *Kernel, name string) (*kmem.Struct[T], error) {
	types, err := k.Types(ctx)
	if err != nil {
		return nil, err
	}
	return kmem.NewStruct[T](types, name)
}
