package linux

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"physgdb/symbols/linux/kmem"

	"physgdb/symbols"
	"physgdb/symbols/btf"
)

// Types returns the layout of the kernel's data structures: from its vmlinux, or else from the
// kernel's own BTF in memory.
func (k *Kernel) Types(ctx context.Context) (symbols.Types, error) {
	return k.types.Get(ctx, k.readTypes)
}

var errNoTypes = errors.New("the kernel's types are not known (give --vmlinux FILE, one with debug information): no file has them")

func (k *Kernel) readTypes(ctx context.Context) (symbols.Types, error) {
	if k.debug != nil {
		if t, err := k.debug.Types(); err == nil {
			return t, nil
		}
	}
	raw, err := k.ReadBTF(ctx)
	if err != nil {
		return nil, fmt.Errorf("%w, and in memory: %w", errNoTypes, err)
	}
	types, err := btf.New(raw.Data)
	if err != nil {
		return nil, fmt.Errorf("%w, and in memory: %w", errNoTypes, err)
	}
	return types, nil
}

// startBTF and stopBTF are the symbols around the kernel's types
// (include/asm-generic/vmlinux.lds.h).
const startBTF, stopBTF = "__start_BTF", "__stop_BTF"

// ReadBTF returns the BTF in the kernel's memory (Documentation/bpf/btf.rst), with its link
// address.
func (k *Kernel) ReadBTF(ctx context.Context) (symbols.Blob, error) {
	if _, ok := k.Addr(startBTF); !ok {
		return symbols.Blob{}, fmt.Errorf("%w; is it a kernel without CONFIG_DEBUG_INFO_BTF?", k.NoSymbol(startBTF, stopBTF))
	}
	return k.readBetween(ctx, startBTF, stopBTF, btf.MaxSize)
}

// findBTF searches the image for the header of the kernel's BTF. Kernels without
// CONFIG_KALLSYMS_ALL have no symbols for it.
func findBTF(img *image) (symbols.Blob, bool) {
	// struct btf_header: BTF_MAGIC, BTF_VERSION, no flags, its own length, offset 0 of the types
	// (include/uapi/linux/btf.h).
	magic := []byte{0x9f, 0xeb, 1, 0, 24, 0, 0, 0, 0, 0, 0, 0}
	i := bytes.Index(img.Data, magic)
	if i < 0 {
		return symbols.Blob{}, false
	}
	size, err := btf.Size(img.Data[i:])
	if err != nil || size > btf.MaxSize {
		return symbols.Blob{}, false
	}
	return symbols.Blob{Addr: img.base + uint64(i), Data: img.Data[i:][:size]}, true
}

// StructOf looks up the members of a kernel struct; see [kmem.Struct].
func StructOf[T any](ctx context.Context, k *Kernel, name string) (*kmem.Struct[T], error) {
	types, err := k.Types(ctx)
	if err != nil {
		return nil, err
	}
	return kmem.NewStruct[T](types, name)
}
