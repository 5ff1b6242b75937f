package bridge

// Sparse is the optional ability to report where memory holds data: a file with holes.
type Sparse interface {
	// Data lists where there may be anything but zeros.
	Data() RAMMap
}

// Unlaid is the optional ability to place the bytes of a source elsewhere in physical memory.
type Unlaid interface {
	// Layout returns how many bytes there are. ok is false if the source's URL says where they lie.
	Layout() (size uint64, ok bool)
	// Lay opens the source once more, laid out as the map= key of its URL says.
	Lay(layout string) (Memory, error)
}

// DataOf returns where m may hold anything but zeros: all RAM if it does not implement Sparse.
func DataOf(m Memory) RAMMap {
	if s, ok := m.(Sparse); ok {
		return s.Data()
	}
	return m.Info().RAM
}

// Data returns the data of the metered memory.
func (m *Meter) Data() RAMMap { return DataOf(m.Memory) }

// Data returns the data of the guarded memory, as far as it may be read.
func (g *Guard) Data() RAMMap {
	ram := *g.ram.Load()
	data := DataOf(g.mem)
	if ram.Known() && data.Known() {
		return ram.Intersect(data)
	}
	return ram
}
