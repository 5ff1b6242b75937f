package linux

import (
	"context"
	"errors"
	"fmt"
)

// moduleTypes is where the BTF of a module lies.
type moduleTypes struct{ addr, size uint64 }

// modulesTypes is where that of all modules lies, by the address of their struct module, and why some may be missing.
type modulesTypes struct {
	places map[uint64]moduleTypes
	damage []error
	answers
}

// moduleTypes returns where the kernel keeps the types of a module. The module's own pointer to them is cleared once they are
// checked (btf_module_notify(), kernel/bpf/btf.c).
func (k *Kernel) moduleTypes(ctx context.Context, module uint64) (moduleTypes, error) {
	all, err := k.typesOfModules.get(ctx, k.findModuleTypes)
	if err != nil {
		return moduleTypes{}, err
	}
	place, ok := all.places[module]
	switch {
	case ok:
		return place, nil
	case len(all.damage) > 0:
		return moduleTypes{}, fmt.Errorf("the list of the modules' types is damaged: %w", all.damage[0])
	}
	return moduleTypes{}, errors.New("the kernel has none (a module that was built without BTF)")
}

func (k *Kernel) findModuleTypes(ctx context.Context) (*modulesTypes, error) {
	head, ok := k.Addr("btf_modules")
	if !ok {
		return nil, errors.New("the kernel keeps no types of its modules (CONFIG_DEBUG_INFO_BTF_MODULES), or no name for them")
	}
	var node struct {
		List   member `c:"list"`
		Next   member `c:"list.next"`
		Module member `c:"module"`
		BTF    member `c:"btf"`
	}
	nodes, err := k.layout(ctx, "btf_module", &node)
	if err != nil {
		return nil, err
	}
	var f struct {
		Data member `c:"data"`
		Size member `c:"data_size"`
	}
	btfs, err := k.layout(ctx, "btf", &f)
	if err != nil {
		return nil, err
	}
	var modules, addrs []uint64
	var d damage
	err = k.walkList(ctx, head, node.Next.Offset-node.List.Offset, mostModules, &d, func(at uint64) (bool, error) {
		r, err := nodes.readOne(ctx, k.Space, at-node.List.Offset)
		if err != nil {
			d.add("%w", err)
			return false, ctx.Err()
		}
		modules, addrs = append(modules, node.Module.uint(r)), append(addrs, node.BTF.uint(r))
		return true, nil
	})
	if err != nil {
		return nil, fmt.Errorf("the list of the modules' types: %w", err)
	}
	records, err := btfs.read(ctx, k.Space, addrs)
	if err != nil {
		return nil, err
	}
	found := map[uint64]moduleTypes{}
	for i, r := range records {
		if r.err != nil {
			d.add("%w", r.err)
			continue
		}
		found[modules[i]] = moduleTypes{f.Data.uint(r), f.Size.uint(r)}
	}
	return &modulesTypes{found, d.list(), d.answers}, nil
}
