// Package kmem reads the data structures of a Linux kernel in its memory: structs by the names of
// their members, linked lists, XArrays, and areas of which a part is missing.
//
// Every read is bounded, because the memory may be damaged or written by an attacker. What is wrong
// with a part of a result is collected as [Damage] next to the result; an error means that nothing
// could be read. Each batch of reads is one round trip to a remote machine, so that readers handle
// many structs at once. Addresses are virtual addresses in the [mmu.Space] that is passed.
package kmem
