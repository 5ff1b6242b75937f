package clients

import (
	"context"
	"fmt"
	"net"

	"physgdb/test/session"
)

// cdtAdapter is Eclipse CDT's debug adapter for gdb, as VS Code's extension for the type gdbtarget
// starts it.
type cdtAdapter struct{}

func (cdtAdapter) name() string { return "cdt-gdb-adapter 1.7.0" }

func (cdtAdapter) start(_ context.Context, m *machine) (driver, error) {
	return &dapDriver{machine: m, adapterRecipes: m.cdtRecipes()}, nil
}

// cdtRecipes returns the requests that an editor sends to it. Lines that begin with > are for gdb.
func (m *machine) cdtRecipes() adapterRecipes {
	host, port, _ := net.SplitHostPort(m.address())
	gdb := func(command string) request { return typed(">" + command) }
	works := gdb(probe)
	s := m.search
	actions := dapActions()
	for action, requests := range map[string][]request{
		relocated:   {evaluate("&init_task"), evaluate("vfs_read"), gdb("x/s linux_banner")},
		printing:    {gdb("p init_task.comm")},
		disassembly: {{"disassemble", args{"memoryReference": fmt.Sprintf("%#x", m.addressOf("vfs_read")), "instructionCount": 20}}},
		finding:     {gdb(fmt.Sprintf("find /g %#x, +%#x, %#x", s.start, s.length, s.word))},
		showCR3:     {gdb("info registers cr3")},
		setCR3: {gdb(fmt.Sprintf("set $cr3 = %#x", m.guest.Facts.ClockCR3)), gdb(fmt.Sprintf("x/gx %#x", m.clockVar)),
			gdb("monitor cr3 threads")},
		ofModule:   {evaluate("&oops_inner")},
		resume:     {{dapContinue, nil}, works},
		step:       {{dapNext, nil}, works},
		breakpoint: {functionBreakpoints("vfs_read"), {dapContinue, nil}, functionBreakpoints(), works},
		setVar:     {gdb("set var jiffies = 7"), works},
		ctrlC:      {works},
		unmapped:   {{"readMemory", args{"memoryReference": fmt.Sprintf("%#x", uint64(unmappedVA)), "count": 8}}, works},
	} {
		actions[action] = requests
	}
	return adapterRecipes{
		start: session.StartGDBAdapter,
		attach: args{
			"gdb": "gdb", "gdbArguments": session.IndexCache(), "program": m.begin(), "cwd": m.guest.Dir(), "preConnectCommands": []string{
				session.NoIndexCache, "set remotetimeout 30",
			},
			"target": args{"type": "remote", "host": host, "port": port},
		},
		actions: actions,
	}
}
