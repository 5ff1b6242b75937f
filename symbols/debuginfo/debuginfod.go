package debuginfo

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"physgdb/internal/regular"
)

// The default time limits for a server. Connecting is fast unless packets are lost, for example at
// a firewall, which delays every start by this time.
const (
	defaultTimeout = 10 * time.Second
	connectTimeout = 3 * time.Second
)

// downloadStep is what has to arrive within the timeout (debuginfod-client-config(7),
// $DEBUGINFOD_TIMEOUT), in bytes.
const downloadStep = 100_000

// maxDebugFile is no limit for any kernel, but one for a server gone mad, in bytes.
const maxDebugFile = 16 << 30

var errUnknownBuild = errors.New("does not have it")

// download returns the file of a build that debuginfod's clients got earlier, or gets it from a
// server.
func (d *Places) download(ctx context.Context, s *search) (string, bool) {
	if d.Cache == "" {
		return "", false
	}
	file := filepath.Join(d.Cache, hex.EncodeToString(s.id), "debuginfo")
	info, err := os.Stat(file)
	switch {
	case err == nil && info.Size() > 0:
		return file, s.fits(file)
	case err == nil && len(d.Servers) > 0 && time.Since(info.ModTime()) < d.missAge():
		s.refuse("debuginfod servers had no file when asked %v ago (as %s says)",
			time.Since(info.ModTime()).Round(time.Second), file)
		return "", false
	}
	return file, d.ask(ctx, s, file) && s.fits(file)
}

// missAge is how long an empty file in the cache means that no server has the file
// (debuginfod-client-config(7), cache_miss_s).
func (d *Places) missAge() time.Duration {
	const usual = 600
	text, err := regular.ReadFile(filepath.Join(d.Cache, "cache_miss_s"))
	seconds, bad := strconv.Atoi(string(bytes.TrimSpace(text)))
	if err != nil || bad != nil {
		seconds = usual
	}
	return time.Duration(seconds) * time.Second
}

// ask gets a file from the first server that has it. When all say that they have not, that is
// remembered as elfutils does: the next command, and gdb, need not ask.
func (d *Places) ask(ctx context.Context, s *search, file string) bool {
	unknown := 0
	for _, server := range d.Servers {
		err := d.fetch(ctx, server, s.id, file)
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			return false
		}
		if errors.Is(err, errUnknownBuild) {
			unknown++
		}
		s.refuse("%s: %v", server, err)
	}
	if unknown > 0 && unknown == len(d.Servers) {
		_ = os.Remove(file) // an old one may not be writable
		_ = os.WriteFile(file, nil, 0)
	}
	return false
}

// fetch makes a file of the cache appear at once and whole, with the access rights that elfutils
// gives it.
func (d *Places) fetch(ctx context.Context, server string, buildID []byte, file string) error {
	dir := filepath.Dir(file)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("no directory to store it: %w", err)
	}
	part, err := os.CreateTemp(dir, filepath.Base(file)+".")
	if err != nil {
		return fmt.Errorf("no directory to store it: %w", err)
	}
	defer os.Remove(part.Name())
	err = d.get(ctx, server, buildID, part)
	if closing := part.Close(); err == nil {
		err = closing
	}
	if err != nil {
		return err
	}
	f, err := openBuild(part.Name(), buildID)
	if err != nil {
		return fmt.Errorf("sent a wrong file: %w", err)
	}
	f.Close()
	if err := os.Chmod(part.Name(), 0o400); err != nil {
		return err
	}
	return os.Rename(part.Name(), file)
}

// get writes what a server has of a build. It gives up when less than downloadStep bytes arrive
// within the timeout.
func (d *Places) get(ctx context.Context, server string, buildID []byte, to io.Writer) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	limit := d.timeout()
	timer := time.AfterFunc(limit, func() {
		cancel(fmt.Errorf("sent less than %d kB in %v; DEBUGINFOD_TIMEOUT=90 sets the limit to 90 s",
			downloadStep/1000, limit))
	})
	defer timer.Stop()
	response, err := request(ctx, server, buildID)
	if err != nil {
		return err
	}
	defer response.Body.Close()
	total := lengthOf(response)
	for done := int64(0); done < maxDebugFile; {
		n, err := io.CopyN(to, response.Body, downloadStep)
		done += n
		if d.Progress != nil && n > 0 {
			d.Progress(done, total)
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return fmt.Errorf("after %d bytes: %w", done, causeOf(ctx, err))
		}
		timer.Reset(limit)
	}
	return fmt.Errorf("sent more than %d GiB", maxDebugFile>>30)
}

// request asks a server for a file (debuginfod(8), /buildid/BUILDID/debuginfo).
func request(ctx context.Context, server string, buildID []byte) (*http.Response, error) {
	address, err := url.JoinPath(server, "buildid", hex.EncodeToString(buildID), "debuginfo")
	if err != nil {
		return nil, err
	}
	query, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return nil, err
	}
	transport := &http.Transport{
		Proxy:             http.ProxyFromEnvironment,
		DialContext:       (&net.Dialer{Timeout: connectTimeout}).DialContext,
		DisableKeepAlives: true,
	}
	response, err := (&http.Client{Transport: transport}).Do(query)
	if err != nil {
		return nil, causeOf(ctx, err)
	}
	if response.StatusCode == http.StatusOK {
		return response, nil
	}
	response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return nil, errUnknownBuild
	}
	return nil, fmt.Errorf("answers %s", response.Status)
}

// causeOf returns why a request failed without the URL, which our errors begin with anyway.
func causeOf(ctx context.Context, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return cause
	}
	if of := (*url.Error)(nil); errors.As(err, &of) {
		return of.Err
	}
	return err
}

// lengthOf returns how many bytes will come, or -1: files that are compressed on the way have their
// size in a header of debuginfod's own.
func lengthOf(r *http.Response) int64 {
	if size, err := strconv.ParseInt(r.Header.Get("X-DEBUGINFOD-SIZE"), 10, 64); err == nil && size > 0 {
		return size
	}
	return r.ContentLength
}

// timeout is for downloadStep bytes.
func (d *Places) timeout() time.Duration {
	switch {
	case d.Timeout < 0:
		return math.MaxInt64
	case d.Timeout == 0:
		return defaultTimeout
	}
	return d.Timeout
}
