// The implementation of Boost.JSON, compiled once for everything that links the protocol.
#include <boost/json/src.hpp>
