package main

import (
	"bufio"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

func checkSymbols(ctx context.Context, m *machine) cell {
	file := filepath.Join(m.guest.Dir(), "vmlinux.synth")
	r, wrong := m.command(ctx, "symbols", m.guest.Source(), "-o", file)
	if wrong != nil {
		return *wrong
	}
	got, err := elfSymbols(file)
	if err != nil {
		return cell{failed, err.Error()}
	}
	var differences []error
	for name, addr := range m.guest.Facts.Kallsyms {
		if !got[symbol{name, addr - m.guest.Facts.Slide}] {
			differences = append(differences, fmt.Errorf("no %s at %#x, which /proc/kallsyms has", name, addr))
		}
	}
	linked, err := systemMap(m.guest.Kernel.SystemMap)
	if err != nil {
		return cell{failed, err.Error()}
	}
	functions, found := 0, 0
	for s, kind := range linked {
		if got[s] {
			found++
		}
		if kind != "t" && kind != "T" {
			continue
		}
		if functions++; !got[s] {
			differences = append(differences, fmt.Errorf("no function %s at %#x, which System.map has", s.name, s.addr))
		}
	}
	return judged(r, errors.Join(differences...), fmt.Sprintf("%d functions, %d of %d names", functions, found, len(linked)))
}

// symbol is a name at a link address.
type symbol struct {
	name string
	addr uint64
}

func elfSymbols(file string) (map[symbol]bool, error) {
	f, err := elf.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	list, err := f.Symbols()
	all := map[symbol]bool{}
	for _, s := range list {
		all[symbol{s.Name, s.Value}] = true
	}
	return all, err
}

// systemMap reads the linker's list: address, kind, name.
func systemMap(file string) (map[symbol]string, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	all := map[symbol]string{}
	for lines := bufio.NewScanner(f); lines.Scan(); {
		fields := strings.Fields(lines.Text())
		if len(fields) != 3 {
			continue
		}
		addr, err := strconv.ParseUint(fields[0], 16, 64)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", file, err)
		}
		all[symbol{fields[2], addr}] = fields[1]
	}
	return all, nil
}
