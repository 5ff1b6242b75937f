package hostile

import (
	"fmt"
	"strings"
)

// Covered is an attack in another test: one that needs no real memory, or more than a command.
type Covered struct {
	Surface string
	// Attack describes the attack.
	Attack string
	// Tests are the tests with this attack: the path of the package in the module, a dot, and the
	// name of the test.
	Tests []string
}

// OtherAttacks returns the table of the attacks in other tests.
func OtherAttacks() []Covered {
	return []Covered{
		{"cache", "memory of the same build-id in which names are swapped, pages are zeros or bits are flipped is looked at first; kept files are cut, damaged or FIFOs",
			[]string{"test/hostile.TestPoisonedCache", "cmd/internal/kept.TestDamagedFiles"}},
		{"cache", "killed processes leave files; the cache grows without limit",
			[]string{"test/hostile.TestLeftoverCacheFiles", "cmd/internal/kept.TestLimit", "cmd/internal/kept.TestStaleFiles"}},

		{"sources", "an image is empty, all zeros or all ones, and --vmcoreinfo is wrong",
			[]string{"test/hostile.TestMachinesWithoutKernel", "cmd/internal/machine.TestWrongVMCoreInfoIsIgnored"}},
		{"sources", "a file is a FIFO, a device, a directory, or has 8 TiB of holes",
			[]string{"test/hostile.TestIrregularFiles", "internal/regular.TestOnlyRegularFilesAreOpened", "symbols/elffile.TestOnlyRegularFilesAreRead", "test.TestPrivateFilesAndListeners"}},
		{"sources", "a file looks like a dump that it is not, is split, or is cut while it is read",
			[]string{"bridge/dump.TestFilesThatAreNotRAM", "bridge/dump.FuzzFile", "bridge/dump.TestAFileThatIsCutShort", "bridge/dump.TestSplitFile"}},
		{"sources", "a RAM map overlaps, wraps, or is no map", []string{"bridge.TestParseRAMMap", "bridge.FuzzParseRAMMap"}},
		{"sources", "anything leads to physical addresses that are no RAM, where a read may change a device",
			[]string{"bridge.TestGuard", "bridge.TestGuardReadsWhatItMay", "symbols/linux/find.TestFindReadsOnlyRAM", "test/e2e.TestOnlyRAMIsRead"}},

		{"kernel search", "memory is full of decoys of kernels and of VMCOREINFO",
			[]string{"symbols/linux/find.TestFindRejectsDecoys", "symbols/linux/find.TestFindBoundsDecoys", "symbols/linux/find.TestFindRejectsContradictions"}},
		{"kernel search", "two kernels lie in one memory", []string{"symbols/linux/find.TestFindWithTwoKernels", "symbols/linux/find.TestFindReadsOneKernel"}},
		{"kernel search", "the text of VMCOREINFO, the trampoline and crash notes are arbitrary",
			[]string{"symbols/linux.FuzzParseVMCoreInfo", "symbols/linux/find.FuzzParseTrampoline", "symbols/linux/find.FuzzELFCoreNotes", "symbols/linux/klog.FuzzVMCoreInfoTypes"}},

		{"page tables", "tables are arbitrary, in circles, or share one table at every level",
			[]string{"mmu.TestDamagedTables", "mmu.TestGarbageEnds", "mmu.FuzzWalk", "mmu.TestMoreTablesThanAreKept", "cmd/physgdb.TestMapsOfDamagedTables"}},
		{"page tables", "a search goes through damaged tables", []string{"cmd/internal/query.TestSearchOfDamagedTablesEnds", "cmd/internal/query.FuzzScan"}},

		{"names", "kallsyms is arbitrary, or expands without limit",
			[]string{"symbols/kallsyms.FuzzKallsyms", "symbols/kallsyms.TestDamagedKallsyms", "symbols/kallsyms.TestExpandedNamesAreBounded", "symbols/kallsyms.TestTokensAreLookedForInManyPlaces", "symbols/kallsyms.FuzzFindExports"}},
		{"types", "BTF is arbitrary, or expands without limit",
			[]string{"symbols/btf.FuzzBTF", "symbols/btf.TestNameLength", "symbols/elfsynth.FuzzBTF", "symbols/elfsynth.TestDamagedTypesMakeSoundDWARF", "symbols/elfsynth.TestDebuggersSurviveDamagedTypes", "symbols/elfsynth.TestArraysDoNotWrap"}},
		{"types", "members have sizes and offsets that none can have", []string{"symbols/linux/kmem.TestStructRefusesHugeMembers", "symbols/linux/kmem.TestStructBoundsMembers"}},
		{"stacks", "ORC is arbitrary, and frames lead to themselves",
			[]string{"symbols/orc.FuzzORC", "symbols/linux/unwind.TestUnwindIsBounded", "symbols/linux/unwind.TestDamagedTaskStacks", "symbols/linux/unwind.FuzzUnwindByFramePointer", "symbols/linux.FuzzLongestAddressTable"}},
		{"stacks", "return addresses are replaced, and the lists of the originals are arbitrary",
			[]string{"symbols/linux/unwind.FuzzTrueReturn", "symbols/linux/unwind.TestTrueReturn"}},
		{"symbol files", "what is made has no bound, or does not end in time",
			[]string{"symbols/elfsynth.TestBuildBoundsDebugInformation", "symbols/elfsynth.TestBuildBoundsNames", "symbols/elfsynth.TestBuildEndsWithItsContext", "symbols/linux/module.TestQuota"}},
		{"symbol files", "a vmlinux or the file of a module on disk is arbitrary, of another kernel, or cut while it is read",
			[]string{"symbols/debuginfo.TestVmlinuxIsRefusedInOneLine", "symbols/dwarf.FuzzDWARF", "symbols/dwarf.FuzzLines", "symbols/dwarf.FuzzCFI", "symbols/dwarf.TestLinesOfAFileThatShrinks", "symbols/debuginfo.TestModuleFilesThatAreRejected"}},
		{"symbol files", "a debuginfod server answers with something else, or hangs",
			[]string{"symbols/debuginfo.TestServerThatIsNoneIsNamed", "symbols/debuginfo.TestEndlessPatienceIsForServersThatHang"}},

		{"modules", "the list is torn, in a circle, or leads anywhere", []string{"symbols/linux/module.TestDamagedModuleList", "symbols/linux/module.TestDamagedModules"}},
		{"modules", "symbols of a module are arbitrary", []string{"symbols/linux/module.FuzzModuleSymbols", "symbols/linux/module.TestDamagedModuleSymbols"}},
		{"modules", "two modules have one name", []string{"cmd/internal/machine.TestModulesOfOneNameHaveFilesOfTheirOwn"}},
		{"generated code", "lists of programs and probes are arbitrary", []string{"symbols/linux.FuzzGenerated", "symbols/linux.TestGeneratedCodeDamaged"}},
		{"log", "the ring is arbitrary; texts overlap", []string{"symbols/linux/klog.FuzzLog", "symbols/linux/klog.TestDamagedLog", "symbols/linux/klog.TestTextsAreBounded"}},
		{"files", "paths run in circles, and tables of open files have no end", []string{"symbols/linux/vfs.TestDescriptorTablesAreBounded"}},
		{"resources", "the list of resources has no end", []string{"symbols/linux/iomem.TestDamagedResources", "symbols/linux/iomem.TestResourcesAreBounded"}},
		{"all of memory", "words that commands read are changed at random", []string{"cmd/internal/target.TestDamage"}},
		{"all of memory", "the kernel's tables are changed at random, and gdb and lldb load what is made of them", []string{"test/hostile.TestMutations"}},

		{"text", "names and texts have escapes, C1 controls, bidi or cut characters, in text, JSON, scripts, file names and packets",
			[]string{"internal/plain.TestHostileText", "internal/plain.TestHostileJSON", "internal/plain.FuzzPlain", "cmd/internal/render.TestRenderersOfEvilText", "cmd/internal/machine.TestNamesFromMemoryAreFit", "cmd/physgdb.TestOutputIsPlain", "gdbstub.TestGdbSurvivesTheNamesOfThreads"}},
		{"text", "a path asks for a file that is not the machine's", []string{"cmd/internal/target.TestNoOtherFileIsServed", "gdbstub.FuzzVFile"}},

		{"adapter", "the adapter lies: answers that were not asked for, that are too long, twice, late, or of another request",
			[]string{"bridge/nettlp.TestLyingAdapters", "bridge/nettlp.TestStaleDuplicateOnReusedTag", "bridge/nettlp.TestAdapterRestart", "bridge/nettlp.FuzzDecodeCompletion", "bridge/nettlp.FuzzAccept"}},
		{"adapter", "the adapter is silent, stalls, or refuses", []string{"bridge/nettlp.TestSilenceEndsABatch", "bridge/nettlp.TestStalledAdapter", "bridge/nettlp.TestRefusalMidway"}},
		{"adapter", "requests to the adapter in software are arbitrary", []string{"bridge/nettlp.FuzzDecodeRequest", "bridge/nettlp.TestBadRequests", "bridge/nettlp.TestForeignRequests"}},
		{"notices", "a datagram is arbitrary, or far too long; a file of notices is damaged",
			[]string{"bridge/notify.FuzzParse", "bridge/notify.FuzzReadLines", "bridge/notify.TestTextsAreCut", "cmd/internal/machine.TestBadLinesOfNoticesAreLogged", "cmd/internal/machine.TestAFloodOfNoticesIsNotKept", "test/hostile.TestForgedNotices"}},
		{"notices", "a notice names another boot, or a root outside RAM", []string{"cmd/internal/machine.TestNoticeOfAnotherBoot"}},
		{"notices", "the dying host's own module is given names with controls", []string{"test/guest.TestModuleWritesJSON"}},

		{"clients", "packets are arbitrary, damaged or too long",
			[]string{"gdbstub.TestStorm", "gdbstub.FuzzConnection", "gdbstub/rsp.FuzzReader", "gdbstub.TestTooLongARequestEndsTheSession", "gdbstub.TestAPacketThatIsTooLargeEndsTheSession"}},
		{"clients", "many connections are idle, and many are busy",
			[]string{"test/hostile.TestIdleAndInvalidClients", "gdbstub.TestIdleClientsMakeRoom", "gdbstub.TestTheIdlestClientMakesRoom", "gdbstub.TestACrowd", "gdbstub.TestClientIsRefusedIfAllAreBusy"}},
		{"clients", "a browser or a TLS client connects", []string{"gdbstub.TestOtherProtocolsAreRefused", "gdbstub/internal/accept.FuzzFirstBytes"}},
		{"clients", "a client does not read, vanishes, or attaches without end",
			[]string{"gdbstub.TestClientThatDoesNotReadIsDisconnected", "gdbstub.TestAClientThatVanishesMidReply", "gdbstub.TestAFloodOfAttachesIsBounded"}},
		{"clients", "a request takes longer than it may", []string{"gdbstub.TestTargetsThatHangTakeUpPlaces", "gdbstub.TestALateCallIsAnsweredInTimeAndItsDataAreDropped"}},
		{"clients", "gdb, lldb and random clients come at once for minutes", []string{"test/hostile.TestSoak"}},
		{"neighbours", "a listener is open to other machines", []string{"cmd/internal/entry.TestWarnExposed", "cmd/physgdb.TestServeWarnsOfOtherMachines", "cmd/physgdb.TestAdapterBeyondLoopbackWarns"}},
		{"neighbours", "another user reads what is written of memory", []string{"test/hostile.TestWrittenMemoryIsPrivate", "cmd/physgdb.TestFilesOfMemoryArePrivate"}},
		{"neighbours", "a socket's path is taken by something else", []string{"cmd/internal/entry.TestWhatIsNoStaleSocketStays", "cmd/internal/entry.TestAPrivateSocketLeavesNothing"}},
	}
}

// Table returns the tables of the attacks in Markdown.
func Table() string {
	var b strings.Builder
	fmt.Fprintf(&b, "### On the memory of a real machine\n\nThese are `TestAttacks` of `test/hostile`: %d attacks.\n\n", len(Attacks()))
	fmt.Fprintf(&b, "| uses | attack | what is written |\n|---|---|---|\n")
	for _, a := range Attacks() {
		fmt.Fprintf(&b, "| %s | %s | %s |\n", a.Surface, a.Name, a.Changes)
	}
	fmt.Fprintf(&b, "\n### Made by other tests\n\n| uses | attack | tests |\n|---|---|---|\n")
	for _, c := range OtherAttacks() {
		fmt.Fprintf(&b, "| %s | %s | `%s` |\n", c.Surface, c.Attack, strings.Join(c.Tests, "`, `"))
	}
	return b.String()
}
