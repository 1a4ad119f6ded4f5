// The program's own operator new and delete, which know the arena in use (memory_arena.h).
#pragma once

namespace rondo {

// Does nothing but make the linker take the operators.
void LinkArenaNew();

}  // namespace rondo
