// Package guest provides real dead machines for tests: a Debian kernel runs in QEMU, panics, and is
// then frozen.
//
// [Prepare] downloads a kernel with its debug information once and keeps it ([PrepareWithoutDebug]:
// without); [Boot] starts it with a tiny system of our own (process 1 is test/guest/init), lets it
// panic, and hands back a [Guest]: its RAM as a file, its serial log, the notices it sent while
// dying, and what it said about itself while it lived, which no code under test had a hand in.
//
//	g, err := guest.Boot(ctx, guest.Config{Release: "6.12", PTI: true, LA57: true})
//	if err != nil { … }
//	defer g.Close()
//
// A kernel dies by request, or of what the module in test/guest/trouble does to it; processes of
// test/guest/extras keep its CPUs busy, hang, or are many.
//
// QEMU emulates in software, so that nothing but a plain user account is needed. setup.sh installs
// what the rig calls.
package guest
