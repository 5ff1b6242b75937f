package guest

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

// What QEMU 7.2 says of a CPU in user mode.
const infoRegisters = "CPU#1\r\n" +
	"RAX=000000166e138230 RBX=0000000000000040 RCX=0000000000000001 RDX=00000000000f6806\r\n" +
	"RSI=0000000000000002 RDI=000000166e041a2a RBP=ffffca24404abb88 RSP=ffffca24404abb10\r\n" +
	"R8 =0000000000258f21 R9 =0000000000000003 R10=ffffca24404aba90 R11=ffffffffb1eb6658\r\n" +
	"R12=0000000000000004 R13=0000000000000005 R14=00000000000000cb R15=ffff893b02684200\r\n" +
	"RIP=ffffffffb0e8b667 RFL=00000203 [------C] CPL=3 II=0 A20=1 SMM=0 HLT=0\r\n" +
	"ES =0000 0000000000000000 00000000 00000000\r\n" +
	"CS =0033 0000000000000000 ffffffff 00a09b00 DPL=0 CS64 [-RA]\r\n" +
	"SS =002b 0000000000000000 ffffffff 00c09300 DPL=0 DS   [-WA]\r\n" +
	"DS =0001 0000000000000000 00000000 00000000\r\n" +
	"FS =0002 000018d07c629890 00000000 00000000\r\n" +
	"GS =0003 ffff893b0f100000 00000000 00000000\r\n" +
	"LDT=0000 0000000000000000 00000000 00008200 DPL=0 LDT\r\n" +
	"TR =0040 fffffe156560f000 00004087 00008900 DPL=0 TSS64-avl\r\n" +
	"GDT=     fffffe156560d000 0000007f\r\n" +
	"IDT=     fffffe0000000000 00000fff\r\n" +
	"CR0=80050033 CR2=00007f0d8678b000 CR3=000000000280c000 CR4=00750ef0\r\n" +
	"DR0=0000000000000000 DR1=0000000000000000 DR2=0000000000000000 DR3=0000000000000000 \r\n" +
	"DR6=00000000ffff0ff0 DR7=0000000000000400\r\n" +
	"EFER=0000000000000d01\r\n" +
	"FCW=037f FSW=0000 [ST=0] FTW=00 MXCSR=00001fa0\r\n" +
	"FPR0=0000000000000000 0000 FPR1=0000000000000000 0000\r\n" +
	"YMM00=0000000000000000 0000000000000000 cda2d1b392022022 d6b9c0782c2b49a4\r\n"

func TestParseRegisters(t *testing.T) {
	want := map[string]uint64{
		"rax": 0x166e138230, "rbx": 0x40, "rcx": 1, "rdx": 0xf6806, "rsi": 2, "rdi": 0x166e041a2a,
		"rbp": 0xffffca24404abb88, "rsp": 0xffffca24404abb10, "r8": 0x258f21, "r9": 3, "r10": 0xffffca24404aba90,
		"r11": 0xffffffffb1eb6658, "r12": 4, "r13": 5, "r14": 0xcb, "r15": 0xffff893b02684200,
		"rip": 0xffffffffb0e8b667, "eflags": 0x203, "cpl": 3,
		"cs": 0x33, "ss": 0x2b, "ds": 1, "es": 0, "fs": 2, "gs": 3, "fs_base": 0x18d07c629890, "gs_base": 0xffff893b0f100000,
		"cr0": 0x80050033, "cr2": 0x7f0d8678b000, "cr3": 0x280c000, "cr4": 0x750ef0, "efer": 0xd01,
	}
	if diff := cmp.Diff(want, parseRegisters(infoRegisters)); diff != "" {
		t.Error(diff)
	}
}
