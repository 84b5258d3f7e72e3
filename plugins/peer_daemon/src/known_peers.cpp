#include "plugins/peer_daemon/src/known_peers.hpp"

#include <algorithm>
#include <memory>
#include <utility>

#include "plugins/peer_daemon/src/iso_time.hpp"
#include "protocol/keys.hpp"

namespace cm::daemon {
namespace {

constexpr std::string_view kSchema = R"sql(
CREATE TABLE known_peer (
  mesh_id TEXT NOT NULL,
  member_pubkey TEXT NOT NULL,
  name_folded TEXT NOT NULL,
  name TEXT NOT NULL,
  last_seen_at INTEGER NOT NULL,
  PRIMARY KEY (mesh_id, member_pubkey, name_folded)
) WITHOUT ROWID;
CREATE INDEX known_peer_name ON known_peer (mesh_id, name_folded);
CREATE INDEX known_peer_last_seen ON known_peer (last_seen_at);
)sql";

constexpr std::string_view kPut =
    "INSERT INTO known_peer (mesh_id, member_pubkey, name_folded, name, last_seen_at) VALUES (?1, ?2, ?3, ?4, ?5) "
    "ON CONFLICT (mesh_id, member_pubkey, name_folded) DO UPDATE SET name = excluded.name, "
    "last_seen_at = max(last_seen_at, excluded.last_seen_at)";

// Of several names of a member the newest stands for it.
constexpr std::string_view kNewest =
    "SELECT mesh_id, member_pubkey, name, max(last_seen_at) FROM known_peer GROUP BY mesh_id, member_pubkey";

constexpr std::string_view kByName =
    "SELECT member_pubkey, name, last_seen_at FROM known_peer WHERE mesh_id = ?1 AND name_folded = ?2 "
    "ORDER BY last_seen_at DESC LIMIT ?3";

// 'g' follows the last hex digit. Of several names of a member the newest stands for it.
constexpr std::string_view kByKey =
    "SELECT member_pubkey, name, max(last_seen_at) FROM known_peer "
    "WHERE mesh_id = ?1 AND member_pubkey >= ?2 AND member_pubkey < ?2 || 'g' "
    "GROUP BY member_pubkey ORDER BY 3 DESC LIMIT ?3";

constexpr std::string_view kForgetOld = "DELETE FROM known_peer WHERE last_seen_at < ?1";

constexpr std::string_view kForgetMany =
    "DELETE FROM known_peer WHERE (mesh_id, member_pubkey, name_folded) IN "
    "(SELECT mesh_id, member_pubkey, name_folded FROM known_peer ORDER BY last_seen_at DESC LIMIT -1 OFFSET ?1)";

constexpr std::size_t kKeyShown = 16;

struct Sighting {
  std::string mesh_id;
  std::string member_pubkey;
  std::string name_folded;
  std::string name;
};

bool is_member_with_name(const PeerView& peer) {
  return peer.pubkey == peer.member_pubkey && !peer.display_name.empty() &&
         peer.display_name.size() <= kKnownPeerNameBytesMax && protocol::PublicKey::from_hex(peer.member_pubkey).ok();
}

}  // namespace

Result<std::string> resolve_known(const ParsedTarget& target, const std::vector<KnownPeer>& matches) {
  std::vector<const KnownPeer*> members;
  for (const KnownPeer& match : matches) {
    const bool listed = std::any_of(members.begin(), members.end(), [&match](const KnownPeer* other) {
      return other->member_pubkey == match.member_pubkey;
    });
    if (!listed) {
      members.push_back(&match);
    }
  }
  if (members.size() == 1) {
    return members.front()->member_pubkey;
  }
  if (members.empty()) {
    return make_error(ErrorCode::kGone, "nobody was ever seen as \"" + target.value + "\"");
  }
  std::string list;
  for (std::size_t i = 0; i < std::min(members.size(), kKnownCandidates); ++i) {
    const KnownPeer& member = *members[i];
    list += (list.empty() ? "" : ", ") + member.name + " " + member.member_pubkey.substr(0, kKeyShown) + "… (seen " +
            format_iso_ms(member.last_seen_ms) + ")";
  }
  return make_error(ErrorCode::kInvalid, "nobody who is online fits \"" + target.value +
                                             "\", and several members who were seen before do: " + list +
                                             "; expected one, so name the key of the one that you mean");
}

std::vector<SqlMigration> KnownPeers::migrations() {
  return {SqlMigration{1, "0001_known_peers", std::string(kSchema)}};
}

void KnownPeers::bind(const HostApi& host, StorageClient& storage, Metric dropped) {
  host_ = &host;
  storage_ = &storage;
  dropped_ = dropped;
  statements_.put = storage.statement(kPut);
  statements_.newest = storage.statement(kNewest);
  statements_.by_name = storage.statement(kByName);
  statements_.by_key = storage.statement(kByKey);
  statements_.forget_old = storage.statement(kForgetOld);
  statements_.forget_many = storage.statement(kForgetMany);
}

void KnownPeers::load(std::function<void(const Status&)> done) {
  auto found = std::make_shared<std::map<Member, std::string>>();
  storage_->read(
      [found, statement = statements_.newest](SqlTransaction& transaction) {
        found->clear();
        return transaction.query(statement, {}, [&found](const SqlRow& row) {
          found->emplace(Member{row.text(0), row.text(1)}, row.text(2));
        });
      },
      [this, found, done = std::move(done)](const Status& status) {
        if (status.ok()) {
          names_ = std::move(*found);
        }
        done(status);
      });
}

std::string_view KnownPeers::name_of(const std::string& mesh_id, const std::string& member_pubkey) const {
  const auto place = names_.find({mesh_id, member_pubkey});
  return place == names_.end() ? std::string_view() : std::string_view(place->second);
}

void KnownPeers::remember_name(const std::string& mesh_id, const std::string& member_pubkey, std::string_view name) {
  const auto place = names_.find({mesh_id, member_pubkey});
  if (place != names_.end()) {
    place->second = name;
  } else if (names_.size() < kKnownPeersMax) {
    names_.emplace(Member{mesh_id, member_pubkey}, name);
  }
}

void KnownPeers::seen(const MeshRecord& mesh, const std::vector<PeerView>& peers) {
  const std::int64_t now_ms = host_->unix_ms();
  auto sightings = std::make_shared<std::vector<Sighting>>();
  for (const PeerView& peer : peers) {
    if (!is_member_with_name(peer) || peer.member_pubkey == mesh.pubkey) {
      continue;
    }
    remember_name(mesh.mesh_id, peer.member_pubkey, peer.display_name);
    const Key key{mesh.mesh_id, peer.member_pubkey, fold_name(peer.display_name)};
    const auto place = stored_.find(key);
    if (place != stored_.end() && now_ms - place->second < kKnownPeerExactMs && now_ms >= place->second) {
      continue;
    }
    if (place == stored_.end() && stored_.size() >= kKnownPeersMax) {
      dropped_.add();
      continue;
    }
    stored_[key] = now_ms;
    sightings->push_back({std::get<0>(key), peer.member_pubkey, std::get<2>(key), peer.display_name});
  }
  if (sightings->empty()) {
    return;
  }
  storage_->submit(
      [sightings, now_ms, statement = statements_.put](SqlTransaction& transaction) -> Status {
        for (const Sighting& sighting : *sightings) {
          const Result<std::uint64_t> changes = transaction.execute(
              statement, {sighting.mesh_id, sighting.member_pubkey, sighting.name_folded, sighting.name, now_ms});
          if (!changes) {
            return changes.error();
          }
        }
        return {};
      },
      [this, sightings](const Status& status) {
        if (status.ok()) {
          return;
        }
        for (const Sighting& sighting : *sightings) {
          stored_.erase(Key{sighting.mesh_id, sighting.member_pubkey, sighting.name_folded});
        }
        host_->log(LogLevel::kWarn, "the names of peers cannot be stored; the next list tries again",
                   {{"detail", status.error().message}});
      });
}

void KnownPeers::find(std::string mesh_id, const ParsedTarget& target, Done done) {
  auto found = std::make_shared<std::vector<KnownPeer>>();
  const bool by_key = target.kind == ParsedTarget::Kind::kKeyPrefix;
  storage_->read(
      [found, mesh_id = std::move(mesh_id), wanted = by_key ? target.value : fold_name(target.value),
       statement = by_key ? statements_.by_key : statements_.by_name](SqlTransaction& transaction) {
        found->clear();
        return transaction.query(
            statement, {mesh_id, wanted, static_cast<std::int64_t>(kKnownCandidates + 1)}, [&](const SqlRow& row) {
              found->push_back({std::string(row.text(0)), std::string(row.text(1)), row.integer(2)});
            });
      },
      [found, done = std::move(done)](const Status& status) {
        if (!status.ok()) {
          done(status.error());
          return;
        }
        done(std::move(*found));
      });
}

void KnownPeers::prune() {
  const std::int64_t now_ms = host_->unix_ms();
  std::erase_if(stored_, [now_ms](const auto& entry) { return now_ms - entry.second >= kKnownPeerExactMs; });
  storage_->submit(
      [before_ms = now_ms - kKnownPeerRetentionMs, statements = statements_](SqlTransaction& transaction) -> Status {
        const Result<std::uint64_t> old = transaction.execute(statements.forget_old, {before_ms});
        if (!old) {
          return old.error();
        }
        const Result<std::uint64_t> many =
            transaction.execute(statements.forget_many, {static_cast<std::int64_t>(kKnownPeersMax)});
        return many ? Status() : Status(many.error());
      },
      [host = host_](const Status& status) {
        if (!status.ok()) {
          host->log(LogLevel::kWarn, "the names of peers cannot be pruned", {{"detail", status.error().message}});
        }
      });
}

}  // namespace cm::daemon
