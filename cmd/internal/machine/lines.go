package machine

import "physgdb/symbols/dwarf"

// SourceLines returns which source lines the kernel's code came from, or nil if its vmlinux does not tell.
func (m *Machine) SourceLines() *dwarf.Lines {
	if m.vmlinux == nil || m.vmlinux.made { // memory holds no source lines
		return nil
	}
	lines, err := m.vmlinux.Lines()
	if err != nil {
		m.Log.Info("source lines are not known", "why", err)
		return nil
	}
	return lines
}
