/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Differences between the kernels that the module is built for, 5.10 and later.
 * All other files of the module are written for the newest one.
 */
#ifndef PHYSGDB_COMPAT_H
#define PHYSGDB_COMPAT_H

#include <linux/kernel.h>

#include <asm/msr.h>

/* mac_pton() moved here from linux/kernel.h. */
#if __has_include(<linux/hex.h>)
#include <linux/hex.h>
#endif

/* panic_notifier_list moved here from linux/kernel.h in 5.14. */
#if __has_include(<linux/panic_notifier.h>)
#include <linux/panic_notifier.h>
#endif

/* paddr_vmcoreinfo_note() moved here from linux/crash_core.h in 6.9. */
#if __has_include(<linux/vmcore_info.h>)
#include <linux/vmcore_info.h>
#else
#include <linux/crash_core.h>
#endif

/* rdmsrl() was renamed in 6.16. */
#ifndef rdmsrq
#define rdmsrq(msr, value) rdmsrl(msr, value)
#endif

/*
 * The function that calls the panic notifiers: vpanic(), which panic() calls,
 * or panic() itself in kernels that have no vpanic(). The preprocessor cannot
 * distinguish them, but a module may use a weak symbol that does not exist.
 */
extern void vpanic(const char *format, va_list arguments) __weak;

static inline unsigned long panic_function(void)
{
	return vpanic ? (unsigned long)vpanic : (unsigned long)panic;
}

#endif /* PHYSGDB_COMPAT_H */
