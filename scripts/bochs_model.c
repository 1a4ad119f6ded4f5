// What the wheel bochscpu-python needs beside it; loaded before it by run_avx512.py.
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

// The wheel asks for one fixed model, which lacks VNNI; it gets one with VNNI and BF16.
void* _Z23create_corei3_cnl_cpuidP8BX_CPU_C(void* cpu) {
  void* (*create)(void*) =
      (void* (*)(void*))dlsym(RTLD_DEFAULT, "_Z28create_sapphire_rapids_cpuidP8BX_CPU_C");
  if (create == NULL) {
    fprintf(stderr, "bochs_model: this wheel has no model 'sapphire_rapids'\n");
    exit(1);
  }
  return create(cpu);
}

// Names that the C library has from 2.38 on.
unsigned long long __isoc23_strtoull(const char* text, char** end, int base) {
  return strtoull(text, end, base);
}

int __isoc23_sscanf(const char* text, const char* format, ...) {
  va_list arguments;
  va_start(arguments, format);
  const int count = vsscanf(text, format, arguments);
  va_end(arguments);
  return count;
}
