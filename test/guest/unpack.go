package guest

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
)

// unpack copies the regular files of a Debian package for which place names a destination. It stops
// reading when place returns that it has all files.
func unpack(ctx context.Context, deb string, place func(name string) (path string, last bool)) error {
	ctx, cancel := context.WithCancel(ctx)
	cmd := exec.CommandContext(ctx, "dpkg-deb", "--fsys-tarfile", deb)
	out, err := cmd.StdoutPipe()
	if err != nil {
		cancel()
		return fmt.Errorf("unpack %s: %w", deb, err)
	}
	if err := cmd.Start(); err != nil {
		cancel()
		return fmt.Errorf("unpack %s: %w", deb, err)
	}
	stopped, err := copyFiles(tar.NewReader(out), place)
	if err == nil && !stopped {
		_, err = io.Copy(io.Discard, out) // what pads the archive
	}
	if err != nil || stopped {
		cancel() // the rest of a large package is of no interest
	}
	// An archive that ends early may look like one that is short.
	if ended := cmd.Wait(); err == nil && !stopped {
		err = ended
	}
	cancel()
	if err != nil {
		return fmt.Errorf("unpack %s: %w", deb, err)
	}
	return nil
}

// copyFiles reports whether it stopped before the end of the archive.
func copyFiles(archive *tar.Reader, place func(name string) (string, bool)) (stopped bool, err error) {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			return false, nil
		}
		if err != nil {
			return false, err
		}
		if header.Typeflag != tar.TypeReg {
			continue
		}
		path, last := place(header.Name)
		if path == "" {
			continue
		}
		if err := copyFile(path, archive); err != nil || last {
			return last, err
		}
	}
}

func copyFile(path string, r io.Reader) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	f, err := os.Create(path)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, r)
	return errors.Join(err, f.Close())
}
