package linux

import "context"

// cred is struct cred (include/linux/cred.h).
type cred struct {
	UID uint32 `c:"uid.val"`
}

// UIDs returns the user ids of tasks in the initial user namespace; -1 for those that cannot be
// read.
func (k *Kernel) UIDs(ctx context.Context, tasks []*Task) ([]int, error) {
	layout, err := StructOf[cred](ctx, k, "cred")
	if err != nil {
		return nil, err
	}
	addrs := make([]uint64, len(tasks))
	for i, t := range tasks {
		addrs[i] = t.cred
	}
	creds, errs, err := layout.Read(ctx, k.Space, addrs)
	if err != nil {
		return nil, err
	}
	uids := make([]int, len(tasks))
	for i := range creds {
		uids[i] = -1
		if errs[i] == nil {
			uids[i] = int(creds[i].UID)
		}
	}
	return uids, nil
}
