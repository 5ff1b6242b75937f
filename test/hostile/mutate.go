package hostile

import (
	"errors"
	"fmt"
	"math/rand/v2"
)

// Place is the place of a kernel table in RAM: offsets in the image.
type Place struct {
	Start, Size int
}

// Kind is a kind of tables and their places.
type Kind struct {
	Name   string
	Places []Place
	// Made is true if symbol files are made from it.
	Made bool
}

// Kinds finds the kernel's tables in an image. A kind that cannot be found is an error.
func Kinds(im *Image) ([]Kind, error) {
	f := &placeFinder{im: im}
	kinds := []Kind{
		{"kallsyms", f.image([2]string{"kallsyms_names", "kallsyms_markers"}, [2]string{"kallsyms_markers", "kallsyms_token_table"},
			[2]string{"kallsyms_token_table", "kallsyms_token_index"}), true},
		{"BTF", f.image([2]string{"__start_BTF", "__stop_BTF"}), true},
		{"heads of tables", f.heads("kallsyms_num_syms", "kallsyms_token_index", "kallsyms_offsets", "__start_BTF"), true},
		{"modules", f.modules(), true},
		{"tasks", f.structs("task_struct", f.tasks()), false},
		{"log", f.log(), false},
		{"page tables", f.pageTables(), false},
		{"address spaces", f.structs("mm_struct", f.spaces()), false},
		{"files", f.files(), false},
	}
	if orc := f.optional([2]string{"__start_orc_unwind", "__stop_orc_unwind"}, [2]string{"__start_orc_unwind_ip", "__stop_orc_unwind_ip"}); orc != nil {
		kinds = append(kinds, Kind{"ORC", orc, true})
	}
	return kinds, errors.Join(f.errs...)
}

// placeFinder finds places and collects the errors.
type placeFinder struct {
	im   *Image
	errs []error
}

func (f *placeFinder) fail(err error) {
	if err != nil {
		f.errs = append(f.errs, err)
	}
}

// optional returns the places between symbols of the kernel's image, or nil if it lacks one.
func (f *placeFinder) optional(tables ...[2]string) []Place {
	for _, t := range tables {
		if _, err := f.im.Addr(t[0]); err != nil {
			return nil
		}
	}
	return f.image(tables...)
}

// image returns the places between symbols of the kernel's image.
func (f *placeFinder) image(tables ...[2]string) (places []Place) {
	for _, t := range tables {
		p, err := between(f.im, t[0], t[1])
		f.fail(err)
		places = append(places, f.placeOf(p))
	}
	return places
}

// placeOf returns where a part of RAM is.
func (f *placeFinder) placeOf(p []byte) Place { return Place{cap(f.im.RAM) - cap(p), len(p)} }

// heads returns the first bytes at symbols.
func (f *placeFinder) heads(names ...string) (places []Place) {
	const size = 32
	for _, name := range names {
		at, err := f.im.Addr(name)
		f.fail(err)
		places = append(places, f.at(at, size)...)
	}
	return places
}

// at returns the places of the bytes at a virtual address, which may be in several pages, without
// unreadable ones.
func (f *placeFinder) at(va uint64, size int) (places []Place) {
	for size > 0 {
		p, err := f.im.At(va)
		if err != nil || len(p) == 0 {
			return places
		}
		n := min(size, len(p))
		places = append(places, f.placeOf(p[:n]))
		va, size = va+uint64(n), size-n
	}
	return places
}

// structs returns the places of structs of a type.
func (f *placeFinder) structs(typ string, addrs []uint64) (places []Place) {
	size, err := f.im.Types.Size(typ)
	f.fail(err)
	for _, at := range addrs {
		places = append(places, f.at(at, int(size))...)
	}
	if len(places) == 0 {
		f.fail(fmt.Errorf("there is no %s", typ))
	}
	return places
}

func (f *placeFinder) tasks() (addrs []uint64) {
	tasks, err := f.im.tasks()
	f.fail(err)
	for _, t := range tasks {
		addrs = append(addrs, t.Addr)
	}
	return addrs
}

func (f *placeFinder) spaces() (addrs []uint64) {
	tasks, err := f.im.tasks()
	f.fail(err)
	for _, t := range tasks {
		if t.MM != 0 {
			addrs = append(addrs, t.MM)
		}
	}
	return addrs
}

// modules returns the places of each struct module, its tables of symbols and the heads of their
// strings.
func (f *placeFinder) modules() (places []Place) {
	const some = 4096 // bytes of a table
	f.fail(eachModule(f.im, func(md uint64) error {
		places = append(places, f.structs("module", []uint64{md})...)
		tables, err := f.im.Pointer(md, [2]string{"module", "kallsyms"})
		if err != nil {
			return err
		}
		places = append(places, f.structs("mod_kallsyms", []uint64{tables})...)
		for _, member := range []string{"symtab", "strtab"} {
			at, err := f.im.Pointer(tables, [2]string{"mod_kallsyms", member})
			if err != nil {
				return err
			}
			places = append(places, f.at(at, some)...)
		}
		return nil
	}))
	return places
}

func (f *placeFinder) log() (places []Place) {
	descs, infos, text, err := logRings(f.im)
	f.fail(err)
	for _, p := range [][]byte{descs, infos, text} {
		places = append(places, f.placeOf(p))
	}
	return places
}

// pageTables returns the top-level tables of the kernel and of process 1.
func (f *placeFinder) pageTables() []Place {
	user, _, err := userRoot(f.im)
	f.fail(err)
	kernel, err := f.im.table(uint64(f.im.Kernel.Space.Root().Table()))
	f.fail(err)
	return []Place{f.placeOf(user), f.placeOf(kernel)}
}

// files returns the places of the tables of open files, the files and the dentries.
func (f *placeFinder) files() (places []Place) {
	f.fail(eachFile(f.im, func(table uint64, files []uint64) error {
		places = append(places, f.structs("fdtable", []uint64{table})...)
		places = append(places, f.structs("file", files)...)
		for _, file := range files {
			dentry, err := f.im.Pointer(file, [2]string{"file", "f_path.dentry"})
			if err != nil {
				return err
			}
			places = append(places, f.structs("dentry", []uint64{dentry})...)
		}
		return nil
	}))
	return places
}

// Mutate changes a kind of tables, selected by the seed, in some places. undo reverts the changes.
func Mutate(im *Image, kinds []Kind, seed uint64) (kind *Kind, undo func()) {
	rng := rand.New(rand.NewPCG(seed, 11))
	kind = &kinds[rng.IntN(len(kinds))]
	type change struct {
		at  int
		was [8]byte
	}
	var changes []change
	word := func() []byte {
		p := kind.Places[rng.IntN(len(kind.Places))]
		at := min(p.Start+rng.IntN(p.Size)&^3, len(im.RAM)-8)
		return im.RAM[at : at+8]
	}
	how := rng.IntN(6)
	for range 1 << rng.IntN(7) {
		w := word()
		c := change{at: cap(im.RAM) - cap(w)}
		copy(c.was[:], w)
		changes = append(changes, c)
		switch how {
		case 0:
			w[rng.IntN(8)] ^= 1 << rng.IntN(8)
		case 1:
			copy(w, word()) // points where another pointer does
		case 2:
			clear(w)
		case 3:
			for i := range w {
				w[i] = 0xff
			}
		case 4:
			for i := range w {
				w[i] = byte(rng.Uint32())
			}
		case 5:
			w[rng.IntN(4)] += byte(1 + rng.IntN(255))
		}
	}
	return kind, func() {
		for i := len(changes) - 1; i >= 0; i-- {
			copy(im.RAM[changes[i].at:], changes[i].was[:])
		}
	}
}
