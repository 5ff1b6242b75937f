package hostile

import "errors"

// Attacks is the table of the attacks on memory. Each is made on the memory of a real dead machine.
func Attacks() []Attack {
	var (
		made    = []string{"symbols", "-o", "made", "--modules-to", "modules", "--log-level", "info"}
		modules = [][]string{{"modules"}, {"modules", "--json"}, made}
		tasks   = [][]string{{"ps"}, {"ps", "--json"}, {"cr3"}}
		maps    = [][]string{{"maps", "1"}, {"maps", "kernel"}, {"vtop", "0x400000", "--cr3", "1"}}
		log     = [][]string{{"dmesg"}, {"dmesg", "--json"}}
		stacks  = [][]string{{"bt", "all"}, {"bt", "cpus", "--json"}}
		names   = [][]string{made, {"ps"}, {"percpu", "runqueues", "all"}}
	)
	return []Attack{
		{"page tables", "tables in a circle", "the top-level table of process 1 maps itself in every entry of the lower half",
			userTableInACircle, maps, ""},
		{"page tables", "kernel's tables in a circle", "the kernel's top-level table maps itself in every empty entry",
			kernelTableInACircle, maps, ""},
		{"page tables", "tables outside RAM", "the top-level table of process 1 leads to tables outside RAM",
			tablesOutsideRAM, maps, ""},
		{"page tables", "roots outside RAM", "every process has its page tables outside RAM", rootsOutsideRAM,
			[][]string{{"cr3"}, {"maps", "1"}}, ""},

		{"VMCOREINFO", "false numbers", "every address and number of VMCOREINFO is ffff…", falseVMCoreInfo, names, ""},
		{"VMCOREINFO", "no end", "the note of VMCOREINFO has 2 GiB, without a line feed", endlessVMCoreInfo, names, ""},

		{"names", "number of symbols", "kallsyms has 4,294,967,295 symbols", func(im *Image) error { return put32(im, "kallsyms_num_syms", ^uint32(0)) },
			names, ""},
		{"names", "index of tokens", "each token of kallsyms is the whole token table", tokensOutside, names, ""},
		{"names", "sizes of names", "each name of kallsyms is as long as the format can say", longKallsymsNames, names, ""},
		{"names", "addresses of symbols", "all symbols have one address", oneAddress, names, ""},

		{"types", "long arrays", "BTF by which char [16] has 60,000 elements, and so every comm", longArrays, tasks, ""},
		{"types", "types that hold themselves", "each pointer, typedef, array, struct and const is one of itself", typesInACircle, names, ""},
		{"types", "sections of BTF", "the sections of BTF have 4 GiB each", largeBTF, names, ""},
		{"types", "names of types", "the names of BTF have no end", endlessBTFNames, names, ""},

		{"stacks", "frames without end", "the unwind table has every function return to its own stack pointer", framesWithoutEnd, stacks, ""},
		{"stacks", "unwind table", "all entries of the unwind table are for one address", unsortedORC, stacks, ""},
		{"stacks", "deep stacks", "every stack is full of addresses of code and of pointers to itself", deepStacks, stacks, ""},
		{"stacks", "saved stack pointers", "every saved stack pointer is wrong", wildStacks, stacks, ""},

		{"modules", "symbols of one name", "a module with a million symbols that share a name of 4,000 bytes",
			func(im *Image) error { return fakeModules(im, 1, 1<<20) }, modules, "damaged"},
		{"modules", "symbols of many modules", "400 modules with 250,000 symbols each, in the same memory",
			func(im *Image) error { return fakeModules(im, 400, 250_000) }, modules, "tables of all modules"},
		{"modules", "list in a circle", "the second module leads back to the first", modulesInACircle, modules, "the list is incomplete"},
		{"modules", "sizes of modules", "every module has 4 GiB", largeModules, modules, ""},
		{"modules", "sections of modules", "every module has sections without end", endlessSections, modules, ""},
		{"modules", "names of modules", "every module has one name, with .. and escapes in it", evilModuleNames, modules, ""},
		{"modules", "modules of one name", "all modules have the name of the first", modulesOfOneName, modules, ""},

		{"generated code", "many BPF programs", "100,000 programs with names of 511 bytes in the list of BPF symbols", manyPrograms,
			[][]string{made}, "the list has no end"},
		{"generated code", "BPF programs in a circle", "the list of BPF symbols leads to one node that leads to itself", programsInACircle,
			[][]string{made}, ""},

		{"tasks", "many tasks", "1.3 million tasks in the tree of pids, whose structs overlap",
			func(im *Image) error { return fakeTasks(im, 1_300_000) }, tasks, "more than"},
		{"tasks", "long names of many tasks", "1.3 million tasks, and BTF with long arrays",
			func(im *Image) error { return errors.Join(fakeTasks(im, 1_300_000), longArrays(im)) }, tasks, "more than"},
		{"tasks", "pids in a circle", "each slot of a node of the tree of pids leads to the node", pidsInACircle, tasks, ""},
		{"tasks", "parents in a circle", "each task is its own parent", parentsInACircle, tasks, ""},
		{"tasks", "CPUs", "8,192 CPUs that are all possible", manyCPUs, [][]string{{"ps"}, {"bt", "cpus"}}, ""},
		{"tasks", "per-CPU data", "the data of every CPU are nowhere", wildPerCPU, [][]string{{"ps"}, {"bt", "cpus"}, {"percpu", "runqueues", "all"}}, ""},

		{"text", "names of tasks", "every task has a name of terminal escapes, C1 controls and bidi", evilComms,
			append(stacks, tasks...), ""},
		{"text", "release", "the kernel's release has terminal escapes and /../", evilRelease, [][]string{{"symbols", "--modules-to", "modules"}}, ""},
		{"text", "banner", "the kernel's banner has terminal escapes", evilBanner, names, ""},
		{"text", "log", "the log's text is made of terminal escapes, C1 controls, U+2028 and bidi", evilLog, log, ""},

		{"log", "huge log", "a ring of 2^26 records and 2^31 bytes of text", hugeLog, log, ""},
		{"log", "records", "every record has the largest size, and its text is anywhere", wildRecords, log, ""},

		{"files", "directories in a circle", "every directory of open files is its own parent, and has a name of 4 GiB", dentriesInACircle,
			nil, ""},
		{"files", "many open files", "each process has 2^31 open files", manyFiles, nil, ""},

		{"resources", "resources in a circle", "the first line of /proc/iomem is its own sibling and child", resourcesInACircle, nil, ""},
		{"resources", "many resources", "a million lines in /proc/iomem", manyResources, nil, ""},

		{"build-id", "short build-id", "a note with a build-id of 1 byte", func(im *Image) error { return buildIDOf(im, 1) }, nil,
			"build-id   not known"},
		{"build-id", "long build-id", "a note with a build-id of 200 bytes", func(im *Image) error { return buildIDOf(im, 200) }, nil,
			"build-id   not known"},
	}
}
