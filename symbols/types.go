package symbols

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
)

// Types describes the layout of a program's data, independent of its origin.
type Types interface {
	// Field finds a member of a struct or union by its path, such as "thread.sp" or
	// "numbers[0].nr". Members of anonymous structs and unions are found as in C. The error is
	// ErrNoType or ErrNoMember if there is none: another version of the program may well have it.
	Field(typ, path string) (Field, error)
	// Size returns the size of a struct or union in bytes.
	Size(typ string) (uint64, error)
	// Enum returns the value of a constant of an enumeration.
	Enum(typ, constant string) (int64, error)
}

var (
	// ErrNoType says that a program has no type of that name.
	ErrNoType = errors.New("no such type")
	// ErrNoMember says that a type has no such member or constant.
	ErrNoMember = errors.New("no such member")
)

// Field is where a member lies in its struct.
type Field struct {
	Offset uint64 // bytes from the start of the struct
	Size   uint64 // bytes, of all elements if it is an array
	Elem   uint64 // bytes of one element if it is an array, else Size
}

// Count returns how many elements a member has: 1 if it is no array, 0 if it is one without a
// length.
func (f Field) Count() uint64 {
	if f.Elem == 0 {
		return 0
	}
	return f.Size / f.Elem
}

// Step is one name of a path, with the indices that follow it.
type Step struct {
	Name    string
	Indices []uint64
}

// ParsePath takes "a.b[3].c" apart.
func ParsePath(path string) ([]Step, error) {
	var steps []Step
	for part := range strings.SplitSeq(path, ".") {
		name, rest, indexed := strings.Cut(part, "[")
		s := Step{Name: name}
		for indexed {
			var digits string
			digits, rest, indexed = strings.Cut(rest, "]")
			i, err := strconv.ParseUint(digits, 10, 32)
			if err != nil || !indexed {
				return nil, fmt.Errorf("path %q: %q is not an index", path, digits)
			}
			s.Indices = append(s.Indices, i)
			if rest, indexed = strings.CutPrefix(rest, "["); !indexed && rest != "" {
				return nil, fmt.Errorf("path %q: %q after an index", path, rest)
			}
		}
		if name == "" {
			return nil, fmt.Errorf("path %q: a name is missing", path)
		}
		steps = append(steps, s)
	}
	return steps, nil
}

// Blob is bytes of a program and the address that they have there.
type Blob struct {
	Addr uint64 // virtual
	Data []byte
}
