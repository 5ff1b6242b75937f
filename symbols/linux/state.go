package linux

// State is a task's __state, as the kernel's scheduler has it (include/linux/sched.h).
type State uint64

// Bits of a State. A task that has none of them is runnable.
const (
	Interruptible   State = 1 << 0
	Uninterruptible State = 1 << 1
	Stopped         State = 1 << 2
	Traced          State = 1 << 3
	parked          State = 1 << 6 // a kernel thread that is parked
	dead            State = 1 << 7
	noLoad          State = 1 << 10 // with Uninterruptible: waits, but is not blocked
)

// Bits of a task's exit_state.
const (
	exitDead   = 1 << 4
	exitZombie = 1 << 5
)

// Letter returns the letter of ps for the state of a task: R running or runnable, S sleeping, D
// blocked, T stopped, t traced, Z zombie, X dead, P parked, I idle kernel thread (task_state_array,
// fs/proc/array.c).
func (t *Task) Letter() byte {
	switch s := t.State; {
	case t.exitState&exitZombie != 0:
		return 'Z'
	case t.exitState&exitDead != 0 || s&dead != 0:
		return 'X'
	case s&parked != 0:
		return 'P'
	case s&Uninterruptible != 0 && s&noLoad != 0:
		return 'I'
	case s&Uninterruptible != 0:
		return 'D'
	case s&Interruptible != 0:
		return 'S'
	case s&Stopped != 0:
		return 'T'
	case s&Traced != 0:
		return 't'
	}
	return 'R'
}

// Exited reports whether a task has ended: states Z and X of ps.
func (t *Task) Exited() bool { return t.Letter() == 'Z' || t.Letter() == 'X' }

// Blocked reports whether a task waits uninterruptibly: state D of ps.
func (t *Task) Blocked() bool { return t.Letter() == 'D' }
