// What signals mean to a run. SIGINT and SIGTERM: end after the present step, with a checkpoint.
// SIGTSTP (Ctrl-Z): suspend, and the time until SIGCONT is no time of training.
#pragma once

namespace rondo {

// Installs the handlers; later calls do nothing.
void HandleInterrupts();
// Whether the run should end.
bool EndRequested();
// Seconds on a clock that stands still while the process is suspended.
double RunningSeconds();

}  // namespace rondo
