#include "trace/trace-hw_display_intel_gpu.h"
