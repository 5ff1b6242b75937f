package notify

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
)

// maxLine bounds a line of a file of notices, in bytes. Lines that physgdb notify prints have a
// fourth of it at most.
const maxLine = 64 << 10

// ReadLines calls take for each notice in r, one JSON object a line. Lines that hold no notice,
// such as a part of one whose writer was killed, and longer ones than 64 KiB are passed to bad with
// their number, counted from 1; empty ones are skipped. The error is that of reading, or of ctx.
func ReadLines(ctx context.Context, r io.Reader, take func(*Notice), bad func(line int, err error)) error {
	in := bufio.NewReaderSize(r, maxLine)
	for line := 1; ; line++ {
		if err := ctx.Err(); err != nil {
			return err
		}
		text, err := in.ReadSlice('\n')
		n, wrong := parseLine(text, err)
		for errors.Is(err, bufio.ErrBufferFull) && ctx.Err() == nil {
			_, err = in.ReadSlice('\n') // the rest of a line that is too long
		}
		switch {
		case wrong != nil:
			bad(line, wrong)
		case n != nil:
			take(n)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// parseLine parses a line that was read with readErr. It returns nil for an empty one.
func parseLine(text []byte, readErr error) (*Notice, error) {
	switch {
	case errors.Is(readErr, bufio.ErrBufferFull):
		return nil, fmt.Errorf("longer than %d bytes", maxLine)
	case len(bytes.TrimSpace(text)) == 0:
		return nil, nil
	}
	return Parse(text)
}
