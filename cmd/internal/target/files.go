package target

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"

	"physgdb/cmd/internal/machine"
	"physgdb/cmd/internal/query"
	"physgdb/cmd/internal/render"
	"physgdb/cmd/internal/size"
	"physgdb/gdbstub"
	"physgdb/internal/plain"
	"physgdb/internal/regular"
	"physgdb/symbols/linux/iomem"
	"physgdb/symbols/linux/module"
)

// machineFile is a file that the machine would have, made of what its memory knew.
type machineFile struct {
	name string
	help string
	// write writes the content. If that is incomplete, w has what was found, and the error says
	// what is missing.
	write func(ctx context.Context, m *machine.Machine, w io.Writer) error
}

// machineFiles are what gdb's `remote get NAME FILE` can fetch.
func machineFiles() []machineFile {
	return []machineFile{
		{"/dmesg", "the kernel's log", writeDmesg},
		{"/proc/cmdline", "the kernel's parameters from the boot loader", line(func(ctx context.Context, m *machine.Machine) (string, error) {
			return m.Kernel.CommandLine(ctx)
		})},
		{"/proc/iomem", "the map of physical memory", writeIOMem},
		{"/proc/kallsyms", "the symbols of the kernel and its modules, with run-time addresses", writeKallsyms},
		{"/proc/modules", "the loaded modules", writeProcModules},
		{"/proc/version", "the kernel's version", line(query.Banner)},
	}
}

// line makes a file of one line.
func line(find func(context.Context, *machine.Machine) (string, error)) func(context.Context, *machine.Machine, io.Writer) error {
	return func(ctx context.Context, m *machine.Machine, w io.Writer) error {
		text, err := find(ctx, m)
		if err == nil {
			_, err = fmt.Fprintln(w, text)
		}
		return err
	}
}

// fileOpener opens a file for gdb.
type fileOpener func(context.Context) (gdbstub.File, error)

// OpenFile opens one of the machine's files, or one that gdb got the name of: the kernel's, or a
// module's. Nothing else on the disk of this machine is shown.
func (s *session) OpenFile(ctx context.Context, name string) (gdbstub.File, error) {
	if open, asked := s.files[name]; asked {
		return open(ctx)
	}
	// A client that connects again has the file from before, and asks only whether it is still
	// there.
	if main, err := s.ExecutableFile(ctx); err == nil && name == main && name != "" {
		return openOnDisk(s.m.VmlinuxPath())
	}
	content, err := s.content(ctx, name)
	if err != nil {
		return nil, err
	}
	return s.hold(name, content)
}

// maxHeld is how many bytes the open files of a session may hold in memory.
const maxHeld = 64 << 20

// heldFile is an open file whose content is in memory.
type heldFile struct {
	*bytes.Reader
	session *session
}

// hold opens content as a file, which counts as held until it is closed.
func (s *session) hold(name string, content []byte) (gdbstub.File, error) {
	held := int64(len(content))
	if s.held+held > maxHeld {
		return nil, fmt.Errorf("%s: the open files hold %s already; close one first", name, size.Text(uint64(s.held)))
	}
	s.held += held
	return &heldFile{bytes.NewReader(content), s}, nil
}

// Close ends the file's share of what its session holds.
func (f *heldFile) Close() error {
	f.session.held -= f.Size()
	return nil
}

// content returns what is in one of the machine's files. Those that are whole are made once.
func (s *session) content(ctx context.Context, name string) ([]byte, error) {
	if maps := procMaps.FindStringSubmatch(name); maps != nil {
		return makeMaps(ctx, s.m, maps)
	}
	if content, made := s.contents[name]; made {
		return content, nil
	}
	all := machineFiles()
	i := slices.IndexFunc(all, func(f machineFile) bool { return f.name == name })
	if i < 0 {
		return nil, fs.ErrNotExist
	}
	content, whole, err := makeFile(ctx, s.m, &all[i])
	if err == nil && whole { // what did not answer may do so the next time
		if s.contents == nil {
			s.contents = map[string][]byte{}
		}
		s.contents[name] = content
	}
	return content, err
}

// makeFile makes the content of a file, and reports whether it is complete. An incomplete one is
// better than none.
func makeFile(ctx context.Context, m *machine.Machine, f *machineFile) (content []byte, whole bool, err error) {
	var b bytes.Buffer
	err = f.write(ctx, m, plain.NewWriter(&b)) // users print such files
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err != nil && b.Len() == 0:
		return nil, false, fmt.Errorf("%s: %w", f.name, err)
	case err != nil:
		m.Log.Warn("a file is incomplete", "name", f.name, "why", err)
	}
	return b.Bytes(), err == nil, nil
}

// diskFile is a file on the disk of this machine. It is opened for each read: a debugger has a file
// open for every module of a kernel, and there may be many debuggers.
type diskFile struct {
	name string
	info os.FileInfo
}

func openOnDisk(name string) (gdbstub.File, error) {
	f, err := regular.Open(name)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	return &diskFile{name, info}, nil
}

// Size returns how many bytes the file had when it was opened.
func (f *diskFile) Size() int64 { return f.info.Size() }

// ReadAt reads from the file, unless it was replaced or written to since it was opened.
func (f *diskFile) ReadAt(p []byte, offset int64) (int, error) {
	file, err := regular.Open(f.name)
	if err != nil {
		return 0, err
	}
	defer file.Close()
	now, err := file.Stat()
	if err != nil {
		return 0, err
	}
	if !os.SameFile(f.info, now) || now.Size() != f.info.Size() || !now.ModTime().Equal(f.info.ModTime()) {
		return 0, fmt.Errorf("%s: changed since the debugger opened it; connect again", f.name)
	}
	return file.ReadAt(p, offset)
}

func monitorFiles(w io.Writer, words []string) error {
	if len(words) > 0 {
		return errors.New("monitor files takes no arguments")
	}
	for _, f := range machineFiles() {
		fmt.Fprintf(w, "%-15s %s\n", f.name, f.help)
	}
	fmt.Fprintf(w, "%-15s %s\n", "/proc/PID/maps", "the mappings of a process that are in memory")
	_, err := fmt.Fprintln(w, "gdb fetches them: remote get /proc/iomem iomem.txt")
	return err
}

// writeDmesg writes the kernel's log as dmesg does.
func writeDmesg(ctx context.Context, m *machine.Machine, w io.Writer) error {
	if err := m.NeedSymbols(); err != nil {
		return err
	}
	log, err := query.ReadLog(ctx, m, &query.LogOptions{Levels: query.AllLevels})
	if log == nil {
		return err
	}
	return cmp.Or(render.Log(w, log, false), err)
}

func writeKallsyms(ctx context.Context, m *machine.Machine, w io.Writer) error {
	if err := m.NeedSymbols(); err != nil {
		return err
	}
	if err := m.Kernel.WriteKallsyms(w); err != nil {
		return err
	}
	list, err := module.Read(ctx, m.Kernel)
	if err != nil {
		return err
	}
	return list.WriteKallsyms(ctx, w)
}

func writeIOMem(ctx context.Context, m *machine.Machine, w io.Writer) error {
	list, err := iomem.Resources(ctx, m.Kernel)
	return cmp.Or(render.IOMem(w, list), err)
}

func writeProcModules(ctx context.Context, m *machine.Machine, w io.Writer) error {
	if err := m.NeedSymbols(); err != nil {
		return err
	}
	list, err := module.Read(ctx, m.Kernel)
	if err != nil {
		return err
	}
	return cmp.Or(render.ProcModules(w, list.All), machine.NewDamageError("modules", list.Damage))
}
