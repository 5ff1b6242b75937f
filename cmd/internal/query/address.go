package host

import "fmt"

// address is a number that people read in hexadecimal. In JSON it is a string such as "0x1f", as JSON's own numbers lose
// the last bits of an address.
type address uint64

func (a address) String() string { return fmt.Sprintf("%#x", uint64(a)) }

// MarshalText is how JSON shows it.
func (a address) MarshalText() ([]byte, error) { return []byte(a.String()), nil }
