package gdbstub

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"physgdb/gdbstub/internal/worker"
	"physgdb/gdbstub/rsp"
)

// Error numbers and flags of the protocol, which are its own (gdb manual, appendix E, "File-I/O",
// "Errno Values" and "Open Flags"; gdb 13 knows them from include/gdb/fileio.h).
const (
	errnoNotFound  = 2
	errnoIO        = 5
	errnoBadFile   = 9
	errnoInvalid   = 22
	errnoManyFiles = 24
	errnoReadOnly  = 30

	openReadOnly = 0
)

const (
	// maxFiles is how many files one connection may have open. gdb keeps one open for each module
	// of a kernel.
	maxFiles    = 1024
	maxFileName = 1 << 12 // bytes

	// maxPread is how much one vFile:pread gets at most: what fits a packet however much of it is
	// escaped. gdb continues after a short answer.
	maxPread = (packetSize - uint64(len("Fffffffff;"))) / 2
)

// files are those that a connection has open, by descriptor.
type files map[uint64]File

// vFile answers the vFile packets that read (gdb manual, appendix E, "Host I/O Packets"): what
// gdb's `remote get` sends, and gdb itself when it loads a file from the target. They are about the
// machine, whichever process is selected. Numbers are in hex, and paths as well.
func (s *session) vFile(ctx context.Context, args []byte) reply {
	if s.machine.can.files == nil {
		return unsupported()
	}
	operation, operands, ok := strings.Cut(strings.TrimPrefix(string(args), ":"), ":")
	if !ok || !bytes.HasPrefix(args, []byte(":")) {
		return unsupported()
	}
	switch operation {
	case "setfs": // there is one file system, whatever the process
		return text("F0")
	case "open":
		return s.openFile(ctx, operands)
	case "close":
		return s.closeFile(ctx, operands)
	case "pread":
		return s.readFile(ctx, operands)
	case "fstat":
		return s.statFile(operands)
	case "readlink": // no name is that of a link
		return fileError(errnoInvalid)
	case "pwrite", "unlink":
		return fileError(errnoReadOnly)
	}
	return unsupported()
}

func fileError(errno int) reply { return text(fmt.Sprintf("F-1,%x", errno)) }

// openFile answers vFile:open:<name>,<flags>,<mode>.
func (s *session) openFile(ctx context.Context, operands string) reply {
	fields := strings.Split(operands, ",")
	if len(fields) != 3 || len(fields[0]) > 2*maxFileName {
		return fileError(errnoInvalid)
	}
	name, err := rsp.AppendUnhex(nil, []byte(fields[0]))
	flags, valid := rsp.ParseHex([]byte(fields[1]))
	switch {
	case err != nil || !valid:
		return fileError(errnoInvalid)
	case flags != openReadOnly:
		return fileError(errnoReadOnly)
	}
	fd := s.freeDescriptor()
	if fd == maxFiles {
		return fileError(errnoManyFiles)
	}
	server := s.machine.can.files
	file, err := worker.Ask(ctx, s.machine.worker, func(ctx context.Context, _ Target) (File, error) {
		f, err := server.OpenFile(ctx, string(name))
		if err == nil && ctx.Err() != nil { // the client no longer waits for it
			return nil, errors.Join(ctx.Err(), worker.Close(f))
		}
		return f, err
	})
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return fileError(errnoNotFound)
	case err != nil:
		s.log.Warn("file not opened", "name", string(name), "error", err) // the client shows a number at most
		return fileError(errnoIO)
	}
	s.files[fd] = file
	return text(fmt.Sprintf("F%x", fd))
}

// freeDescriptor returns the lowest descriptor that is not in use; maxFiles if there is none.
func (s *session) freeDescriptor() uint64 {
	var fd uint64
	for fd < maxFiles && s.files[fd] != nil {
		fd++
	}
	return fd
}

// closeFile answers vFile:close:<descriptor>.
func (s *session) closeFile(ctx context.Context, operands string) reply {
	fd, valid := rsp.ParseHex([]byte(operands))
	file := s.files[fd]
	if !valid || file == nil {
		return fileError(errnoBadFile)
	}
	delete(s.files, fd)
	_, err := worker.Ask(ctx, s.machine.worker, func(context.Context, Target) (struct{}, error) { return struct{}{}, worker.Close(file) })
	if err != nil {
		return fileError(errnoIO)
	}
	return text("F0")
}

// closeFiles closes what the client left open. It is called when the Target is used no more.
func (s *session) closeFiles() {
	for _, f := range s.files {
		if err := worker.Close(f); err != nil {
			s.log.Debug("file not closed", "error", err)
		}
	}
}

// readFile answers vFile:pread:<descriptor>,<length>,<offset>: F, the length of what follows, and
// the bytes, escaped. At the end of the file there are none.
func (s *session) readFile(ctx context.Context, operands string) reply {
	fields := strings.Split(operands, ",")
	if len(fields) != 3 {
		return fileError(errnoInvalid)
	}
	var numbers [3]uint64
	for i, field := range fields {
		var valid bool
		if numbers[i], valid = rsp.ParseHex([]byte(field)); !valid {
			return fileError(errnoInvalid)
		}
	}
	file, length, offset := s.files[numbers[0]], numbers[1], numbers[2]
	if file == nil {
		return fileError(errnoBadFile)
	}
	size := uint64(max(0, file.Size()))
	p := make([]byte, min(length, maxPread, size-min(offset, size)))
	n, err := worker.Ask(ctx, s.machine.worker, func(context.Context, Target) (int, error) { return file.ReadAt(p, int64(offset)) })
	if worker.IsNoAnswer(err) || n == 0 && len(p) > 0 {
		s.log.Warn("file not read", "descriptor", numbers[0], "offset", offset, "error", err)
		return fileError(errnoIO)
	}
	s.out = rsp.AppendEscaped(fmt.Appendf(s.out[:0], "F%x;", n), p[:n])
	return reply{payload: s.out}
}

// statFile answers vFile:fstat:<descriptor>: F, the length of a struct stat, and that, escaped
// (appendix E, "struct stat").
func (s *session) statFile(operands string) reply {
	const regularReadable = 0o100444 // S_IFREG and the right to read, by appendix E, "mode_t Values"
	const block = 512
	fd, valid := rsp.ParseHex([]byte(operands))
	file := s.files[fd]
	if !valid || file == nil {
		return fileError(errnoBadFile)
	}
	size := uint64(max(0, file.Size()))
	stat := struct {
		Dev, Ino, Mode, Links, UID, GID, RDev uint32
		Size, BlockSize, Blocks               uint64
		Accessed, Modified, Changed           uint32 // seconds since 1970
	}{Mode: regularReadable, Links: 1, Size: size, BlockSize: block, Blocks: (size + block - 1) / block}
	encoded, err := binary.Append(nil, binary.BigEndian, stat)
	if err != nil {
		return fileError(errnoIO)
	}
	s.out = rsp.AppendEscaped(fmt.Appendf(s.out[:0], "F%x;", len(encoded)), encoded)
	return reply{payload: s.out}
}
