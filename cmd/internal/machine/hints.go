package machine

import (
	"cmp"
	"context"

	"physgdb/bridge"
)

// gatherHints collects the hints of the machine's notice, if there is one, and then those of the
// source. They are verified when the kernel is found by them.
func (m *Machine) gatherHints(ctx context.Context) {
	hints, err := bridge.HintsOf(ctx, m.Memory)
	if err != nil {
		m.Log.Warn("the source's hints cannot be read; ignoring them", "error", err)
		hints = bridge.Hints{}
	}
	if m.Notice != nil {
		noticed := m.Notice.Hints()
		hints.CPUs = append(noticed.CPUs, hints.CPUs...)
		hints.VMCoreInfo = cmp.Or(noticed.VMCoreInfo, hints.VMCoreInfo)
	}
	m.Hints = hints
}

// HintedCPU returns the hints about the CPU that panicked: none, with the number -1, if there are
// no hints.
func (m *Machine) HintedCPU() bridge.CPU {
	if len(m.Hints.CPUs) == 0 {
		return bridge.CPU{Number: -1}
	}
	return m.Hints.CPUs[0]
}
