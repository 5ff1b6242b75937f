package host

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"strings"

	"physgdb/gdbstub"
	"physgdb/internal/plain"
	"physgdb/internal/regular"
	"physgdb/symbols/linux"
)

// machineFile is a file that the machine would have, made of what its memory knew.
type machineFile struct {
	name string
	help string
	// write writes the content. Where that is not all, what was found stands on w, and the error says what is missing.
	write func(m *Machine, ctx context.Context, w io.Writer) error
}

// machineFiles are what gdb's `remote get NAME FILE` can fetch.
func machineFiles() []machineFile {
	return []machineFile{
		{"/dmesg", "the kernel's log", func(m *Machine, ctx context.Context, w io.Writer) error {
			return m.writeDmesg(ctx, w, &dmesgOptions{levels: allLevels})
		}},
		{"/proc/cmdline", "what the boot loader told the kernel", line((*Machine).commandLine)},
		{"/proc/iomem", "what was where in physical memory", (*Machine).writeIOMem},
		{"/proc/kallsyms", "the symbols of the kernel and its modules, where they ran", (*Machine).writeKallsyms},
		{"/proc/modules", "the modules that were loaded", (*Machine).writeProcModules},
		{"/proc/version", "the kernel's version", line((*Machine).bannerText)},
	}
}

// line makes a file of one line.
func line(find func(*Machine, context.Context) (string, error)) func(*Machine, context.Context, io.Writer) error {
	return func(m *Machine, ctx context.Context, w io.Writer) error {
		text, err := find(m, ctx)
		if err == nil {
			_, err = fmt.Fprintln(w, text)
		}
		return err
	}
}

// fileOpener opens a file for gdb.
type fileOpener func(context.Context) (gdbstub.File, error)

// OpenFile opens one of the machine's files, or one that gdb was told of: the kernel's, or a module's. Nothing else on the disk
// of this machine is shown.
func (s *session) OpenFile(ctx context.Context, name string) (gdbstub.File, error) {
	if open, told := s.files[name]; told {
		return open(ctx)
	}
	// A client that connects again has the file from before, and asks only whether it is still there.
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
	size := int64(len(content))
	if s.held+size > maxHeld {
		return nil, fmt.Errorf("%s: the open files hold %s already; close one first", name, sizeText(uint64(s.held)))
	}
	s.held += size
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
		return s.m.makeMaps(ctx, maps)
	}
	if content, made := s.contents[name]; made {
		return content, nil
	}
	all := machineFiles()
	i := slices.IndexFunc(all, func(f machineFile) bool { return f.name == name })
	if i < 0 {
		return nil, fs.ErrNotExist
	}
	content, whole, err := s.m.makeFile(ctx, &all[i])
	if err == nil && whole { // what did not answer may do so the next time
		if s.contents == nil {
			s.contents = map[string][]byte{}
		}
		s.contents[name] = content
	}
	return content, err
}

// makeFile makes the content of a file, and tells whether that is all of it. An incomplete one is better than none.
func (m *Machine) makeFile(ctx context.Context, f *machineFile) (content []byte, whole bool, err error) {
	var b bytes.Buffer
	err = f.write(m, ctx, plain.NewWriter(&b)) // users print such files
	switch {
	case ctx.Err() != nil:
		return nil, false, ctx.Err()
	case err != nil && b.Len() == 0:
		return nil, false, fmt.Errorf("%s: %w", f.name, err)
	case err != nil:
		m.log.Warn("a file is not whole", "name", f.name, "why", err)
	}
	return b.Bytes(), err == nil, nil
}

// diskFile is a file on the disk of this machine. It is opened for each read: a debugger has a file open for every module of
// a kernel, and there may be many debuggers.
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

func (s *session) monitorFiles(_ context.Context, w io.Writer, _ []string) error {
	for _, f := range machineFiles() {
		fmt.Fprintf(w, "%-15s %s\n", f.name, f.help)
	}
	fmt.Fprintf(w, "%-15s %s\n", "/proc/PID/maps", "what a process had mapped, as far as it was in memory")
	_, err := fmt.Fprintln(w, "gdb fetches them: remote get /proc/iomem iomem.txt")
	return err
}

func (m *Machine) writeKallsyms(ctx context.Context, w io.Writer) error {
	if err := m.needSymbols("symbols"); err != nil {
		return err
	}
	return m.Kernel.WriteKallsyms(ctx, w)
}

// writeIOMem writes the kernel's resources as /proc/iomem has them (r_show(), kernel/resource.c).
func (m *Machine) writeIOMem(ctx context.Context, w io.Writer) error {
	const deepest = 8 // MAX_IORES_LEVEL
	list, err := m.Kernel.Resources(ctx)
	for _, r := range list {
		indent := strings.Repeat("  ", min(r.Depth, deepest))
		fmt.Fprintf(w, "%s%08x-%08x : %s\n", indent, uint64(r.Start), uint64(r.Last), plain.Line(r.Name))
	}
	return err
}

// writeProcModules writes the modules as /proc/modules has them (m_show(), kernel/module/procfs.c).
func (m *Machine) writeProcModules(ctx context.Context, w io.Writer) error {
	if err := m.needSymbols("modules"); err != nil {
		return err
	}
	list, err := m.Kernel.Modules(ctx)
	if err != nil {
		return err
	}
	for _, md := range list.All {
		if md.State != linux.ModuleUnformed {
			fmt.Fprintln(w, procModule(md))
		}
	}
	return listDamage("modules", list.Damage)
}

// procModule is a line of /proc/modules.
func procModule(md *linux.Module) string {
	refs := "-"
	if md.Refs >= 0 || md.State == linux.ModuleGoing { // -1 as it is being removed; else they are not counted
		refs = fmt.Sprint(md.Refs)
	}
	var users strings.Builder
	for _, name := range md.UsedBy {
		users.WriteString(name + ",")
	}
	if md.Permanent {
		users.WriteString("[permanent],")
	}
	if users.Len() == 0 {
		users.WriteString("-")
	}
	text := fmt.Sprintf("%s %d %s %s %v 0x%016x", md.Name, md.Size(), refs, users.String(), md.State, md.Base())
	mark := map[linux.ModuleState]string{linux.ModuleGoing: "-", linux.ModuleComing: "+"}[md.State]
	if md.Taint == 0 && mark == "" {
		return text
	}
	taint := ""
	if md.Taint != 0 {
		taint = md.Taint.String()
	}
	return fmt.Sprintf("%s (%s%s)", text, taint, mark)
}
