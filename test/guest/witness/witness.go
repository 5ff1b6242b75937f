// Package witness defines what a guest reports about itself while it is alive: the values that
// tests compare with what they read out of its dead memory. The guest writes it to its second
// serial port, where no kernel message can get in between.
package witness

// Record is one line of JSON on the second serial port. Exactly one member is set.
type Record struct {
	// Facts come once, after everything is set up.
	Facts *Facts `json:"facts,omitempty"`
	// Clock is what the clock process has just stored in its variable UnixTimeNow.
	Clock int64 `json:"clock,omitempty"`
	// Still comes once, when the clock has been stopped, if the guest is to panic.
	Still *Still `json:"still,omitempty"`
	// Threads come when the guest is about to panic, or when it has been set up if it is to live.
	// If they change while they are being reported, they are reported again.
	Threads []Thread `json:"threads,omitempty"`
	// Stacks come before the panic if the guest shares memory with the host: a list of [Stack] in
	// JSON.
	Stacks *Piece `json:"stacks,omitempty"`
	// Panic announces that the guest is about to panic, and in which way.
	Panic string `json:"panic,omitempty"`
	// Capture comes once from the kernel that a kdump has started: the facts of that kernel itself.
	Capture *Facts `json:"capture,omitempty"`
	// Error says what went wrong in the guest; nothing follows.
	Error string `json:"error,omitempty"`
}

// Facts are what a living guest knows of itself.
type Facts struct {
	// Release is what uname -r says.
	Release string `json:"release"`
	// Cmdline is /proc/cmdline, without the newline.
	Cmdline string `json:"cmdline"`
	// IOMem is /proc/iomem, with addresses.
	IOMem string `json:"iomem"`
	// Modules is /proc/modules, with addresses.
	Modules string `json:"modules"`
	// ModuleSections has for each loaded module the addresses of its sections, by
	// /sys/module/NAME/sections.
	ModuleSections map[string]map[string]uint64 `json:"module_sections"`
	// ModuleBuildIDs has the GNU build id, in hex, of each module that has one.
	ModuleBuildIDs map[string]string `json:"module_build_ids"`
	// VMCoreInfo is /sys/kernel/vmcoreinfo: the physical address and the size of the note, both in
	// hex.
	VMCoreInfo string `json:"vmcoreinfo"`
	// CPUs is how many CPUs are online.
	CPUs int `json:"cpus"`
	// Kallsyms is a sample of /proc/kallsyms: well-known symbols, and every few hundredth of the
	// others. Names that occur twice are left out.
	Kallsyms map[string]uint64 `json:"kallsyms"`
	// AllKallsyms is /proc/kallsyms, if the guest shares memory with the host.
	AllKallsyms *Piece `json:"all_kallsyms,omitempty"`
	// ClockPID is the process id of the clock.
	ClockPID int `json:"clock_pid"`
	// ClockHello is the line that the clock read from /proc/physgdb and sent as a datagram; ""
	// without physgdb.ko.
	ClockHello string `json:"clock_hello"`
	// ClockFSBase is the FS base of the clock's main thread, by its own words (arch_prctl).
	ClockFSBase uint64 `json:"clock_fs_base"`
}

// Still is what the clock looked like at the end: it is stopped a moment before the panic.
type Still struct {
	// ClockMaps is /proc/PID/maps of the clock.
	ClockMaps string `json:"clock_maps"`
	// ClockPages are the virtual addresses of its pages that are in RAM, by /proc/PID/pagemap.
	ClockPages []uint64 `json:"clock_pages"`
	// ClockFiles are the names of its open files, by descriptor: the links of /proc/PID/fd.
	ClockFiles map[int]string `json:"clock_files"`
}

// Thread is one thread of a guest.
type Thread struct {
	// PID is the id of its process, which is also that of the process's first thread.
	PID int `json:"pid"`
	// TID is its own id.
	TID int `json:"tid"`
	// PPID is the id of the parent process.
	PPID int `json:"ppid"`
	// Comm is the kernel's name for it, of at most 15 bytes.
	Comm string `json:"comm"`
	// State is the letter that /proc/PID/stat has for what it was doing when it was looked at: R,
	// S, D, T, I, …
	State string `json:"state"`
	// Kernel says that it is a thread of the kernel, without any user memory.
	Kernel bool `json:"kernel,omitempty"`
}

// Piece is a text in the memory that a guest shares with the host.
type Piece struct {
	Offset int `json:"offset"`
	Size   int `json:"size"`
}

// Stack is the kernel stack of a sleeping thread.
type Stack struct {
	TID  int    `json:"tid"`
	Comm string `json:"comm"`
	// Stack is /proc/PID/task/TID/stack.
	Stack string `json:"stack"`
}
