package linux

import "context"

// credLayout is what is read of a struct cred (include/linux/cred.h).
type credLayout struct {
	cred *layout
	UID  member `c:"uid.val"`
}

// UIDs returns the user ids of tasks, in the machine's first user namespace; -1 for those that cannot be read.
func (k *Kernel) UIDs(ctx context.Context, tasks []*Task) ([]int, error) {
	var l credLayout
	var err error
	if l.cred, err = k.layout(ctx, "cred", &l); err != nil {
		return nil, err
	}
	addrs := make([]uint64, len(tasks))
	for i, t := range tasks {
		addrs[i] = t.cred
	}
	records, err := l.cred.read(ctx, k.Space, addrs)
	if err != nil {
		return nil, err
	}
	uids := make([]int, len(tasks))
	for i, r := range records {
		uids[i] = -1
		if r.err == nil {
			uids[i] = int(uint32(l.UID.uint(r)))
		}
	}
	return uids, nil
}
