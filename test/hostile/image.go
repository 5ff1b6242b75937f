package hostile

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"

	"golang.org/x/sys/unix"

	"physgdb/bridge"
	"physgdb/bridge/dump"
	"physgdb/mmu"
	"physgdb/symbols"
	"physgdb/symbols/linux"
	"physgdb/symbols/linux/find"
)

// Image is a copy of a dead machine's memory that may be changed. Addresses are virtual ones of its
// kernel.
type Image struct {
	Path   string
	RAM    []byte // the file, mapped
	Kernel *linux.Kernel
	Types  symbols.Types

	memory bridge.Memory
	direct uint64 // where the direct map of all RAM begins
	free   int    // the end of the memory that Alloc has not allocated
}

// Copy copies the raw memory of a dead machine to a path, and finds the kernel in it.
func Copy(ctx context.Context, from, to string) (*Image, error) {
	if out, err := exec.CommandContext(ctx, "cp", "--sparse=always", from, to).CombinedOutput(); err != nil {
		return nil, fmt.Errorf("copy %s: %w: %s", from, err, out)
	}
	im := &Image{Path: to}
	if err := im.open(ctx); err != nil {
		return nil, errors.Join(err, im.Close())
	}
	return im, nil
}

func (im *Image) open(ctx context.Context) error {
	f, err := os.OpenFile(im.Path, os.O_RDWR, 0)
	if err != nil {
		return err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return err
	}
	im.free = int(info.Size())
	if im.RAM, err = unix.Mmap(int(f.Fd()), 0, im.free, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED); err != nil {
		return fmt.Errorf("map %s: %w", im.Path, err)
	}
	if im.memory, err = dump.OpenFiles([]string{im.Path}, ""); err != nil {
		return err
	}
	found, err := find.Kernel(ctx, mmu.New(im.memory, nil), im.memory, nil)
	if err != nil {
		return err
	}
	tables, err := found.OwnTables(ctx, nil, nil)
	if err != nil {
		return err
	}
	if im.Kernel, err = found.With(ctx, tables.Names(), nil); err != nil {
		return err
	}
	if im.Types, err = im.Kernel.Types(ctx); err != nil {
		return err
	}
	base, err := im.Addr("page_offset_base")
	if err != nil {
		return err
	}
	im.direct, err = im.Get64(base)
	return err
}

// Close unmaps the image and keeps its file.
func (im *Image) Close() error {
	var errs []error
	if im.RAM != nil {
		errs = append(errs, unix.Munmap(im.RAM))
	}
	if im.memory != nil {
		errs = append(errs, im.memory.Close())
	}
	return errors.Join(errs...)
}

// Addr returns the address of a symbol.
func (im *Image) Addr(name string) (uint64, error) {
	addr, ok := im.Kernel.Addr(name)
	if !ok {
		return 0, fmt.Errorf("the kernel has no symbol %s", name)
	}
	return addr, nil
}

// Offsets returns the offsets of members of a struct, in the order of their paths.
func (im *Image) Offsets(typ string, paths ...string) ([]uint64, error) {
	offsets := make([]uint64, len(paths))
	for i, path := range paths {
		f, err := im.Types.Field(typ, path)
		if err != nil {
			return nil, err
		}
		offsets[i] = f.Offset
	}
	return offsets, nil
}

// At returns the memory from an address to the end of its page or, in the direct map, of RAM.
func (im *Image) At(va uint64) ([]byte, error) {
	if off := va - im.direct; off < uint64(len(im.RAM)) {
		return im.RAM[off:], nil
	}
	mp, err := im.Kernel.Space.Translate(context.Background(), va)
	if err != nil {
		return nil, err
	}
	start := uint64(mp.Phys(va))
	end := start + (mp.VA + mp.Size - va)
	if end > uint64(len(im.RAM)) {
		return nil, fmt.Errorf("%#x is at phys %#x, which is not in the image", va, start)
	}
	return im.RAM[start:end], nil
}

// image returns the memory from an address in the kernel's image on. The image is contiguous in
// RAM.
func (im *Image) image(va uint64) ([]byte, error) {
	mp, err := im.Kernel.Space.Translate(context.Background(), va)
	if err != nil {
		return nil, err
	}
	phys := uint64(mp.Phys(va))
	if phys >= uint64(len(im.RAM)) {
		return nil, fmt.Errorf("%#x is at phys %#x, which is not in the image", va, phys)
	}
	return im.RAM[phys:], nil
}

// Get64 reads a number.
func (im *Image) Get64(va uint64) (uint64, error) {
	p, err := im.At(va)
	if err != nil {
		return 0, err
	}
	return binary.LittleEndian.Uint64(p), nil
}

// Put64 writes numbers in sequence.
func (im *Image) Put64(va uint64, values ...uint64) error {
	for i, v := range values {
		p, err := im.At(va + 8*uint64(i))
		if err != nil {
			return err
		}
		binary.LittleEndian.PutUint64(p, v)
	}
	return nil
}

// Put32 writes a number.
func (im *Image) Put32(va uint64, v uint32) error {
	p, err := im.At(va)
	if err != nil {
		return err
	}
	binary.LittleEndian.PutUint32(p, v)
	return nil
}

// Write writes bytes, over as many pages as they take.
func (im *Image) Write(va uint64, data []byte) error {
	for len(data) > 0 {
		p, err := im.At(va)
		if err != nil {
			return err
		}
		n := copy(p, data)
		va, data = va+uint64(n), data[n:]
	}
	return nil
}

// Read reads bytes, over as many pages as they take.
func (im *Image) Read(va uint64, n int) ([]byte, error) {
	var data []byte
	for len(data) < n {
		p, err := im.At(va + uint64(len(data)))
		if err != nil {
			return nil, err
		}
		data = append(data, p[:min(len(p), n-len(data))]...)
	}
	return data, nil
}

// Pointer follows members that are pointers, from the address of a struct on.
func (im *Image) Pointer(at uint64, members ...[2]string) (uint64, error) {
	for _, m := range members {
		o, err := im.Offsets(m[0], m[1])
		if err != nil {
			return 0, err
		}
		if at, err = im.Get64(at + o[0]); err != nil {
			return 0, fmt.Errorf("%s.%s: %w", m[0], m[1], err)
		}
	}
	return at, nil
}

// PutMember writes a number, of 4 or 8 bytes, into a member of a struct at an address.
func (im *Image) PutMember(at uint64, typ, path string, v uint64) error {
	f, err := im.Types.Field(typ, path)
	if err != nil {
		return err
	}
	if f.Size == 4 {
		return im.Put32(at+f.Offset, uint32(v))
	}
	return im.Put64(at+f.Offset, v)
}

// Alloc allocates memory that the machine never used. It returns the address of n zero bytes at the
// start of a page, and the bytes.
func (im *Image) Alloc(n int) (uint64, []byte, error) {
	const lowest = 16 << 20 // physical address: below are firmware and devices
	var zeros [mmu.PageSize]byte
	n = (n + mmu.PageSize - 1) &^ (mmu.PageSize - 1)
	end := im.free &^ (mmu.PageSize - 1)
	for at := end; at >= lowest; {
		if end-at >= n {
			im.free = at
			return im.direct + uint64(at), im.RAM[at : at+n], nil
		}
		at -= mmu.PageSize
		if !bytes.Equal(im.RAM[at:at+mmu.PageSize], zeros[:]) {
			end = at
		}
	}
	return 0, nil, fmt.Errorf("the image has no %d bytes that were never used", n)
}
