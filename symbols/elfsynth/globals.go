package elfsynth

// KernelGlobals returns the types of variables of the kernel that people ask for, which BTF does not tell. A kernel need
// not have all of them. Only those are here whose type is the same in all kernels that have them.
func KernelGlobals() []Global {
	return []Global{
		{"init_task", "struct task_struct"},
		{"init_mm", "struct mm_struct"},
		{"modules", "struct list_head"},
		{"jiffies", "unsigned long"},
		{"linux_banner", "char []"},
	}
}
