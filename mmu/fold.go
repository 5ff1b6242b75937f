package mmu

import "iter"

// Fold is a mapping that occurs several times: the same pages with the same rights, at addresses
// that lie Stride apart.
type Fold struct {
	Mapping        // the first of them
	Times   uint64 // 1 if it occurs once
	Stride  uint64 // bytes; 0 if it occurs once
}

// minFold is how many equal mappings make a fold. Fewer are listed one by one.
const minFold = 4

// FoldEqual joins mappings of an enumeration that repeat the one before them at a constant
// distance: Linux maps each page of espfix 65,536 times, 64 KiB apart (init_espfix_ap(),
// arch/x86/kernel/espfix_64.c).
func FoldEqual(list iter.Seq2[Mapping, error]) iter.Seq2[Fold, error] {
	return func(yield func(Fold, error) bool) {
		var run Fold
		for mp, err := range list {
			if err == nil && run.join(&mp) {
				continue
			}
			if !run.emit(yield) {
				return
			}
			run = Fold{}
			if err != nil {
				if !yield(Fold{Mapping: mp}, err) {
					return
				}
				continue
			}
			run = Fold{Mapping: mp, Times: 1}
		}
		run.emit(yield)
	}
}

// join adds a mapping to the run, and reports whether it belongs there.
func (f *Fold) join(mp *Mapping) bool {
	if f.Times == 0 || f.PA != mp.PA || f.Size != mp.Size || f.Page != mp.Page || f.Flags != mp.Flags {
		return false
	}
	if f.Times == 1 {
		f.Stride = mp.VA - f.VA
	}
	if mp.VA != f.VA+f.Times*f.Stride {
		return false
	}
	f.Times++
	return true
}

// emit yields the run as one, or its mappings one by one if they are few. It returns false when the
// enumeration is over.
func (f *Fold) emit(yield func(Fold, error) bool) bool {
	if f.Times >= minFold {
		return yield(*f, nil)
	}
	for i := range f.Times {
		one := Fold{Mapping: f.Mapping, Times: 1}
		one.VA += i * f.Stride
		if !yield(one, nil) {
			return false
		}
	}
	return true
}
