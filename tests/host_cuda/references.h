// The functions that exhaustive.cpp compares with.
#pragma once

namespace reference {

using Function = double (*)(double);
Function find(const char* name);  // null if there is none of that name

}  // namespace reference
