package module

import (
	"context"
	"errors"
	"fmt"

	"physgdb/symbols/linux"

	"physgdb/symbols"
	"physgdb/symbols/linux/kmem"
)

// typePlace is the place of a module's BTF.
type typePlace struct{ addr, size uint64 }

// btfModule is struct btf_module, and btfData is struct btf (kernel/bpf/btf.c).
type (
	btfModule struct {
		List   struct{} `c:"list"`
		Next   struct{} `c:"list.next"`
		Module uint64   `c:"module"`
		BTF    uint64   `c:"btf"`
	}
	btfData struct {
		Data uint64 `c:"data"`
		Size uint64 `c:"data_size"`
	}
)

// typePlaces are the places of the BTF of all modules by the address of their struct module, with
// damage.
type typePlaces struct {
	places map[uint64]typePlace
	damage []error
	kmem.Timeouts
}

// typePlace returns the place of a module's BTF. The pointer in struct module is cleared after the
// BTF is checked (btf_module_notify(), kernel/bpf/btf.c).
func (ms *Modules) typePlace(ctx context.Context, module uint64) (typePlace, error) {
	all, err := ms.types.Get(ctx, ms.findTypes)
	if err != nil {
		return typePlace{}, err
	}
	place, ok := all.places[module]
	switch {
	case ok:
		return place, nil
	case len(all.damage) > 0:
		return typePlace{}, fmt.Errorf("the list of the modules' types is damaged: %w", all.damage[0])
	}
	return typePlace{}, errors.New("the kernel has none (a module that was built without BTF)")
}

func (ms *Modules) findTypes(ctx context.Context) (*typePlaces, error) {
	k := ms.k
	head, ok := k.Addr("btf_modules")
	if !ok {
		return nil, errors.New("the kernel keeps no types of its modules (CONFIG_DEBUG_INFO_BTF_MODULES), or no name for them")
	}
	nodes, err := linux.StructOf[btfModule](ctx, k, "btf_module")
	if err != nil {
		return nil, err
	}
	layout, err := linux.StructOf[btfData](ctx, k, "btf")
	if err != nil {
		return nil, err
	}
	var modules, addrs []uint64
	var d kmem.Damage
	err = kmem.WalkList(ctx, k.Space, head, nodes.Offset("Next")-nodes.Offset("List"), maxModules, &d, func(at uint64) (bool, error) {
		n, err := nodes.ReadOne(ctx, k.Space, at-nodes.Offset("List"))
		if err != nil {
			d.Add("%w", err)
			return false, ctx.Err()
		}
		modules, addrs = append(modules, n.Module), append(addrs, n.BTF)
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the list of the modules' types: %w", err)
	}
	btfs, errs, err := layout.Read(ctx, k.Space, addrs)
	if err != nil {
		return nil, err
	}
	found := map[uint64]typePlace{}
	for i, b := range btfs {
		if errs[i] != nil {
			d.Add("%w", errs[i])
			continue
		}
		found[modules[i]] = typePlace{b.Data, b.Size}
	}
	return &typePlaces{found, d.List(), d.Timeouts}, nil
}

// ReadBTF returns the module's own types, which extend those of the kernel.
func (m *Module) ReadBTF(ctx context.Context) (symbols.Blob, error) {
	const maxSize = 8 << 20 // bytes; the largest modules have some 1 MB
	at, err := m.owner.typePlace(ctx, m.Addr)
	switch {
	case err != nil:
		return symbols.Blob{}, err
	case at.size > maxSize:
		return symbols.Blob{}, fmt.Errorf("%d bytes: damaged", at.size)
	}
	b := symbols.Blob{Addr: at.addr, Data: make([]byte, at.size)}
	if _, err := m.owner.k.Space.ReadMemory(ctx, at.addr, b.Data); err != nil {
		return symbols.Blob{}, err // the names of the types are at their end
	}
	return b, nil
}
