// SPDX-License-Identifier: Apache-2.0
// What this process has used, and numbers of several runs. Any thread.
#pragma once

#include <stdint.h>

/* Processor time of all threads so far, microseconds. */
uint64_t bench_usage_cpu_us(void);
/* Memory of its own now (RssAnon), without shared mappings; bytes. 0: not known. */
uint64_t bench_usage_memory(void);
/* The median; of an even number the mean of the two in the middle. Sorts them. 0 of none. */
double bench_usage_median(double *values, unsigned int count);
