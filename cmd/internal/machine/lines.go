package machine

import "physgdb/symbols/dwarf"

// SourceLines returns the source lines of the kernel's code, or nil if its vmlinux has none.
func (m *Machine) SourceLines() *dwarf.Lines {
	if m.vmlinux == nil || m.vmlinux.made { // memory holds no source lines
		return nil
	}
	lines, err := m.vmlinux.file.Lines()
	if err != nil {
		m.Log.Info("source lines are not known", "why", err)
		return nil
	}
	return lines
}
