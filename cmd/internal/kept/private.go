package kept

import (
	"io"
)

// WritePrivate writes a file with memory of the target machine, which only its owner can read (mode
// 0600), whatever the umask and whatever was there. fill writes the content; what it has written
// when it returns an error stays.
func WritePrivate(path string, fill func(io.Writer) error) error {
	content, w := io.Pipe()
	filled := make(chan error, 1)
	go func() { // ends with fill, whose writes fail when content is closed
		err := fill(w)
		w.Close()
		filled <- err
	}()
	err := WriteFile(path, content)
	content.Close()
	if incomplete := <-filled; err == nil {
		err = incomplete
	}
	return err
}
