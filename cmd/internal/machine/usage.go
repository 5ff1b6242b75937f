package machine

import "fmt"

// UsageError says that what the user asked for makes no sense, whatever the machine is like.
type UsageError struct{ Err error }

func (e *UsageError) Error() string { return e.Err.Error() }

func (e *UsageError) Unwrap() error { return e.Err }

func Usagef(format string, args ...any) error { return &UsageError{fmt.Errorf(format, args...)} }
