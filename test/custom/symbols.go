package main

import (
	"bufio"
	"context"
	"debug/elf"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// decode reads lines of JSON.
func decode[T any](text string) ([]T, error) {
	var all []T
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var v T
		if err := d.Decode(&v); err != nil {
			return nil, fmt.Errorf("%w in %q", err, text)
		}
		all = append(all, v)
	}
	return all, nil
}

func checkSymbols(ctx context.Context, m *machine) cell {
	file := filepath.Join(m.guest.Dir(), "vmlinux.synth")
	r, err := m.physgdb.Run(ctx, "symbols", m.guest.Source(), "-o", file)
	if err != nil || !exists(file) {
		return refusal(r, err)
	}
	got, err := elfSymbols(file)
	if err != nil {
		return cell{failed, err.Error()}
	}
	var differences []string
	for name, addr := range m.guest.Facts.Kallsyms {
		if !got[symbol{name, addr - m.guest.Facts.Slide}] {
			differences = append(differences, fmt.Sprintf("no %s at %#x, which /proc/kallsyms has", name, addr))
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
			differences = append(differences, fmt.Sprintf("no function %s at %#x, which System.map has", s.name, s.addr))
		}
	}
	return judged(r, differences, fmt.Sprintf("%d functions, %d of %d names", functions, found, len(linked)))
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

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}
