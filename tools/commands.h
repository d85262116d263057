// SPDX-License-Identifier: Apache-2.0
// The subcommands of dray; main's table names them.
#pragma once

int command_migrate(int argc, char **argv);
int command_receive(int argc, char **argv);
int command_check(int argc, char **argv);
int command_probe(int argc, char **argv);
int command_recover(int argc, char **argv);
int command_status(int argc, char **argv);
int command_cancel(int argc, char **argv);
int command_set(int argc, char **argv);
int command_history(int argc, char **argv);
int command_policy(int argc, char **argv);
int command_bench(int argc, char **argv);
int command_guard(int argc, char **argv);
