// The one exported symbol of the library. A program that builds the plugin in compiles this with CM_PLUGIN_ENTRY_NAME.
#include "plugins/storage_sqlite/src/storage_plugin.hpp"

CM_DEFINE_PLUGIN(cm::storage::StoragePlugin);
