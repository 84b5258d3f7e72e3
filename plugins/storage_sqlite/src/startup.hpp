// The steps between "configured" and "started". On a worker.
#pragma once

#include <string>

#include <claudemesh/cpp/host.hpp>

#include "plugins/storage_sqlite/src/connection.hpp"
#include "plugins/storage_sqlite/src/database_file.hpp"
#include "plugins/storage_sqlite/src/options.hpp"
#include "plugins/storage_sqlite/src/reader_pool.hpp"

namespace cm::storage {

// Claims the file, opens all connections, checks the file's soundness and that a committed row can be read back by
// another connection. After a failure nothing is held. Errors: see DatabaseFile::claim and Connection::open; kIo for a
// damaged file.
Result<DatabaseFile> open_database(const HostApi& host, const StorageOptions& options, Connection& writer,
                                   ReaderPool& readers);

}  // namespace cm::storage
