// Package notify receives what a machine sends about itself: the notice of its kernel's panic, and
// the greetings that programs on it may send before. Each contains a CR3, from which the machine's
// memory can be explained.
//
// A notice is one JSON object in one UDP datagram. The kernel module in the folder module sends the
// panic's.
package notify

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strconv"
	"strings"

	"physgdb/bridge"
	"physgdb/internal/plain"
)

// The events of a notice.
const (
	EventPanic = "panic" // the kernel has panicked; CR3 is that of the task that panicked
	EventHello = "hello" // a program sends its own CR3
)

// Limits of the texts of a notice, in bytes. The kernel module's are shorter.
const (
	maxEvent   = 16
	maxHost    = 64 // __NEW_UTS_LEN
	maxComm    = 64
	maxMessage = 1024
)

// Notice is the content of a notice. Only CR3 is always present; a nil field was not sent.
type Notice struct {
	Version    int    `json:"physgdb"`
	Event      string `json:"event,omitempty"`
	Host       string `json:"host,omitempty"`
	CPU        *int   `json:"cpu,omitempty"`
	PID        *int   `json:"pid,omitempty"`
	Comm       string `json:"comm,omitempty"` // name of the task, at most 15 bytes
	CR3        Hex    `json:"cr3"`
	CR4        *Hex   `json:"cr4,omitempty"`
	EFER       *Hex   `json:"efer,omitempty"`
	GSBase     *Hex   `json:"gs_base,omitempty"` // of the kernel: the CPU's per-CPU offset
	RIP        *Hex   `json:"rip,omitempty"`     // of panic()'s own frame, or vpanic()'s: the call of the notifiers
	RSP        *Hex   `json:"rsp,omitempty"`
	RBP        *Hex   `json:"rbp,omitempty"`
	RBX        *Hex   `json:"rbx,omitempty"`
	R12        *Hex   `json:"r12,omitempty"`
	R13        *Hex   `json:"r13,omitempty"`
	R14        *Hex   `json:"r14,omitempty"`
	R15        *Hex   `json:"r15,omitempty"`
	VMCOREINFO *Hex   `json:"vmcoreinfo,omitempty"` // physical address of the VMCOREINFO note
	Message    string `json:"message,omitempty"`
}

// Hex is a number that is a string such as "0x1f" in JSON.
type Hex uint64

// UnmarshalJSON takes a string of hexadecimal digits, with or without 0x.
func (h *Hex) UnmarshalJSON(b []byte) error {
	var s string
	if err := json.Unmarshal(b, &s); err != nil {
		return fmt.Errorf("want a string such as \"0x1f\": %w", err)
	}
	v, err := strconv.ParseUint(string(bytes.TrimPrefix([]byte(s), []byte("0x"))), 16, 64)
	if err != nil {
		return fmt.Errorf("%q is not a hexadecimal number", s)
	}
	*h = Hex(v)
	return nil
}

// MarshalJSON writes a string of hexadecimal digits with 0x.
func (h Hex) MarshalJSON() ([]byte, error) { return fmt.Appendf(nil, `"%#x"`, uint64(h)), nil }

// Parse reads a notice. Keys it does not know are passed over, and texts that are too long are cut.
func Parse(datagram []byte) (*Notice, error) {
	var n struct {
		Notice
		CR3 *Hex `json:"cr3"`
	}
	if err := json.Unmarshal(bytes.TrimRight(datagram, "\x00\r\n "), &n); err != nil {
		return nil, fmt.Errorf("not a notice: %w", err)
	}
	switch {
	case n.Version == 0:
		return nil, fmt.Errorf("not a notice: no key \"physgdb\"")
	case n.Version != 1:
		return nil, fmt.Errorf("a notice of version %d: this physgdb knows version 1", n.Version)
	case n.CR3 == nil:
		return nil, fmt.Errorf("a notice without \"cr3\"")
	}
	n.Notice.CR3 = *n.CR3
	n.cut()
	return &n.Notice, nil
}

// cut shortens the texts of a notice to their limits.
func (n *Notice) cut() {
	for text, limit := range map[*string]int{&n.Event: maxEvent, &n.Host: maxHost, &n.Comm: maxComm, &n.Message: maxMessage} {
		if len(*text) > limit {
			// without a part of a character at the end
			*text = strings.ToValidUTF8((*text)[:limit], "")
		}
	}
}

// Hints returns what the notice says of the machine. They are unverified.
func (n *Notice) Hints() bridge.Hints {
	if n.Event != EventPanic {
		return bridge.Hints{Roots: []bridge.Root{{Name: n.Comm, CR3: uint64(n.CR3)}}}
	}
	cpu := bridge.CPU{Number: -1, Registers: map[string]uint64{"cr3": uint64(n.CR3)}}
	if n.CPU != nil {
		cpu.Number = *n.CPU
	}
	for name, v := range map[string]*Hex{
		"rip": n.RIP, "rsp": n.RSP, "rbp": n.RBP, "rbx": n.RBX, "r12": n.R12, "r13": n.R13, "r14": n.R14, "r15": n.R15,
		"cr4": n.CR4, "efer": n.EFER, "gs_base": n.GSBase,
	} {
		if v != nil {
			cpu.Registers[name] = uint64(*v)
		}
	}
	hints := bridge.Hints{CPUs: []bridge.CPU{cpu}}
	if n.VMCOREINFO != nil {
		hints.VMCoreInfo = bridge.PhysAddr(*n.VMCOREINFO)
	}
	return hints
}

// Text describes the notice in one printable line.
func (n *Notice) Text() string {
	sender := "a host"
	if n.Host != "" {
		sender = n.Host
	}
	task := fmt.Sprintf("CR3 %#x", uint64(n.CR3))
	if n.Comm != "" {
		task = fmt.Sprintf("task %s, %s", n.Comm, task)
	}
	if n.PID != nil {
		task += fmt.Sprintf(", pid %d", *n.PID)
	}
	if n.Event != EventPanic {
		return plain.Line(fmt.Sprintf("%s says %s (%s)", sender, n.Event, task))
	}
	return plain.Line(fmt.Sprintf("%s panicked: %s (%s)", sender, n.Message, task))
}
