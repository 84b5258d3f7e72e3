#include "host/net/tls.hpp"

#include <arpa/inet.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/x509v3.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <system_error>

#include "host/net/detail/digest.hpp"
#include "host/net/detail/stream_socket.hpp"
#include "host/net/detail/tls_access.hpp"

namespace cm::net {

namespace detail {

namespace {

// The reason of the oldest queued OpenSSL error; the queue is emptied. Never holds key material.
std::string take_openssl_error() {
  const unsigned long code = ERR_get_error();
  ERR_clear_error();
  const char* reason = code != 0 ? ERR_reason_error_string(code) : nullptr;
  return reason != nullptr ? reason : "unknown TLS error";
}

// What the descriptor said when OpenSSL used it; OpenSSL itself does not keep that.
struct BioSocket {
  int fd = -1;
  int error = 0;       // of the last call that failed for good
  bool ended = false;  // the peer has sent its FIN
};

// A socket BIO that sends with MSG_NOSIGNAL: OpenSSL's own uses write(), and a peer that left would raise SIGPIPE.
BioSocket& bio_socket(BIO* bio) {
  return *static_cast<BioSocket*>(BIO_get_data(bio));
}

int bio_write(BIO* bio, const char* data, int size) {
  BIO_clear_retry_flags(bio);
  BioSocket& socket = bio_socket(bio);
  const ssize_t sent = ::send(socket.fd, data, static_cast<std::size_t>(size), MSG_NOSIGNAL);
  if (sent < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_write(bio);
  } else if (sent < 0) {
    socket.error = errno;
  }
  return static_cast<int>(sent);
}

int bio_read(BIO* bio, char* into, int size) {
  BIO_clear_retry_flags(bio);
  BioSocket& socket = bio_socket(bio);
  const ssize_t got = ::recv(socket.fd, into, static_cast<std::size_t>(size), 0);
  if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK || errno == EINTR)) {
    BIO_set_retry_read(bio);
  } else if (got < 0) {
    socket.error = errno;
  }
  socket.ended = socket.ended || got == 0;
  return static_cast<int>(got);
}

long bio_control(BIO*, int command, long, void*) {
  return command == BIO_CTRL_FLUSH ? 1 : 0;
}

BIO_METHOD* bio_method() {
  static BIO_METHOD* const method = [] {
    BIO_METHOD* made = BIO_meth_new(BIO_get_new_index() | BIO_TYPE_SOURCE_SINK, "claudemesh socket");
    BIO_meth_set_write(made, &bio_write);
    BIO_meth_set_read(made, &bio_read);
    BIO_meth_set_ctrl(made, &bio_control);
    return made;
  }();
  return method;
}

bool is_address(const std::string& host) {
  in6_addr buffer{};
  return inet_pton(AF_INET, host.c_str(), &buffer) == 1 || inet_pton(AF_INET6, host.c_str(), &buffer) == 1;
}

// Why a session broke, for people: the peer's alert (RFC 8446 section 6), what OpenSSL found, or how the connection
// under it ended. Empties OpenSSL's queue.
std::string broken_text(SSL* ssl, const BioSocket& socket) {
  const bool handshaking = SSL_is_init_finished(ssl) == 0;
  const unsigned long code = ERR_peek_error();
  const long verified = SSL_get_verify_result(ssl);
  if (verified != X509_V_OK && handshaking) {
    ERR_clear_error();
    return std::string("certificate verification failed: ") + X509_verify_cert_error_string(verified);
  }
  if (ERR_GET_LIB(code) == ERR_LIB_SSL && ERR_GET_REASON(code) >= SSL_AD_REASON_OFFSET) {
    ERR_clear_error();
    const int alert = ERR_GET_REASON(code) - SSL_AD_REASON_OFFSET;
    return std::string("the peer sent the TLS alert '") + SSL_alert_desc_string_long(alert) + "' (" +
           std::to_string(alert) + ")";
  }
  if (code != 0) {
    return take_openssl_error();
  }
  const std::string when = handshaking ? " during the TLS handshake" : " without ending TLS";
  if (socket.error != 0) {
    return "the connection broke" + when + ": " + std::generic_category().message(socket.error);
  }
  return socket.ended ? "the peer closed the connection" + when : "unknown TLS error";
}

class OpenSslSession final : public TlsSession {
 public:
  OpenSslSession(std::shared_ptr<SSL_CTX> context, SSL* ssl, std::unique_ptr<BioSocket> socket)
      : context_(std::move(context)), socket_(std::move(socket)), ssl_(ssl) {}
  ~OpenSslSession() override { SSL_free(ssl_); }
  OpenSslSession(const OpenSslSession&) = delete;
  OpenSslSession& operator=(const OpenSslSession&) = delete;

  IoResult handshake() override { return result(SSL_do_handshake(ssl_)); }
  IoResult read(std::span<std::uint8_t> into) override {
    return result(SSL_read(ssl_, into.data(), static_cast<int>(into.size())));
  }
  IoResult write(std::span<const std::uint8_t> from) override {
    return result(SSL_write(ssl_, from.data(), static_cast<int>(from.size())));
  }
  bool has_pending_input() const override { return SSL_pending(ssl_) > 0; }
  void send_close_notify() override {
    if (SSL_is_init_finished(ssl_) != 0 && !broken_) {
      SSL_shutdown(ssl_);
      ERR_clear_error();
    }
  }
  std::string error_text() const override { return error_text_; }

 private:
  IoResult result(int returned) {
    if (returned > 0) {
      return {IoStatus::kOk, static_cast<std::size_t>(returned)};
    }
    switch (SSL_get_error(ssl_, returned)) {
      case SSL_ERROR_WANT_READ:
        return {IoStatus::kWantRead, 0};
      case SSL_ERROR_WANT_WRITE:
        return {IoStatus::kWantWrite, 0};
      case SSL_ERROR_ZERO_RETURN:
        if (SSL_is_init_finished(ssl_) == 0) {
          error_text_ = "the peer closed the connection during the TLS handshake";
        }
        return {IoStatus::kEof, 0};
      default:
        break;
    }
    broken_ = true;
    error_text_ = broken_text(ssl_, *socket_);
    return {IoStatus::kError, 0};
  }

  std::shared_ptr<SSL_CTX> context_;
  std::unique_ptr<BioSocket> socket_;  // outlives ssl_, whose BIO refers to it
  SSL* ssl_;
  std::string error_text_;
  bool broken_ = false;
};

SSL* new_ssl(SSL_CTX* context, BioSocket& socket) {
  ERR_clear_error();
  SSL* ssl = SSL_new(context);
  BIO* bio = ssl != nullptr ? BIO_new(bio_method()) : nullptr;
  if (bio == nullptr) {
    SSL_free(ssl);
    return nullptr;
  }
  BIO_set_data(bio, &socket);
  BIO_set_init(bio, 1);
  SSL_set_bio(ssl, bio, bio);
  return ssl;
}

std::shared_ptr<SSL_CTX> new_context(const SSL_METHOD* method) {
  std::shared_ptr<SSL_CTX> context(SSL_CTX_new(method), &SSL_CTX_free);
  if (context != nullptr) {
    SSL_CTX_set_min_proto_version(context.get(), TLS1_2_VERSION);
    // Buffers of idle sessions are given back; short writes may be repeated from another address (the write queue
    // moves).
    SSL_CTX_set_mode(context.get(),
                     SSL_MODE_RELEASE_BUFFERS | SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    SSL_CTX_set_options(context.get(), SSL_OP_NO_RENEGOTIATION | SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
  }
  return context;
}

Error tls_internal(std::string_view what) {
  return make_error(ErrorCode::kInternal, "OpenSSL refused " + std::string(what) + ": " + take_openssl_error() +
                                              "; expected success; check the OpenSSL installation");
}

Result<std::shared_ptr<SSL_CTX>> load_server_context(const std::string& certificate_file, const std::string& key_file) {
  ERR_clear_error();
  auto context = new_context(TLS_server_method());
  if (context == nullptr) {
    return tls_internal("a server context");
  }
  if (SSL_CTX_use_certificate_chain_file(context.get(), certificate_file.c_str()) != 1) {
    return make_error(ErrorCode::kInvalid, "the certificate file '" + certificate_file +
                                               "' cannot be used: " + take_openssl_error() +
                                               "; expected a readable PEM chain, leaf first; correct the path or file");
  }
  if (SSL_CTX_use_PrivateKey_file(context.get(), key_file.c_str(), SSL_FILETYPE_PEM) != 1 ||
      SSL_CTX_check_private_key(context.get()) != 1) {
    return make_error(ErrorCode::kInvalid, "the key file '" + key_file + "' cannot be used: " + take_openssl_error() +
                                               "; expected the PEM key of the certificate in '" + certificate_file +
                                               "'; correct the path or file");
  }
  return context;
}

}  // namespace

Result<std::unique_ptr<TlsSession>> TlsSession::server(TlsServerContext& context, int fd) {
  auto shared = TlsAccess::context(context);
  auto socket = std::make_unique<BioSocket>();
  socket->fd = fd;
  SSL* ssl = new_ssl(shared.get(), *socket);
  if (ssl == nullptr) {
    return tls_internal("a session");
  }
  SSL_set_accept_state(ssl);
  return std::unique_ptr<TlsSession>(std::make_unique<OpenSslSession>(std::move(shared), ssl, std::move(socket)));
}

Result<std::unique_ptr<TlsSession>> TlsSession::client(TlsClientContext& context, int fd, const std::string& host) {
  auto shared = TlsAccess::context(context);
  auto socket = std::make_unique<BioSocket>();
  socket->fd = fd;
  SSL* ssl = new_ssl(shared.get(), *socket);
  if (ssl == nullptr) {
    return tls_internal("a session");
  }
  auto session = std::make_unique<OpenSslSession>(std::move(shared), ssl, std::move(socket));
  SSL_set_connect_state(ssl);
  const bool address = is_address(host);
  if (!address) {
    // The macro SSL_set_tlsext_host_name() hides a C cast; this is what it stands for.
    SSL_ctrl(ssl, SSL_CTRL_SET_TLSEXT_HOSTNAME, TLSEXT_NAMETYPE_host_name, const_cast<char*>(host.c_str()));
  }
  if (TlsAccess::state(context).verify_peer) {
    X509_VERIFY_PARAM* parameters = SSL_get0_param(ssl);
    X509_VERIFY_PARAM_set_hostflags(parameters, X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS);
    const int set = address ? X509_VERIFY_PARAM_set1_ip_asc(parameters, host.c_str())
                            : X509_VERIFY_PARAM_set1_host(parameters, host.c_str(), host.size());
    if (set != 1) {
      return tls_internal("the host name to verify");
    }
  }
  return std::unique_ptr<TlsSession>(std::move(session));
}

std::string websocket_accept_key(std::string_view key) {
  const std::string text = std::string(key) + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";  // RFC 6455 section 1.3
  unsigned char digest[EVP_MAX_MD_SIZE];
  unsigned int size = 0;
  EVP_Digest(text.data(), text.size(), digest, &size, EVP_sha1(), nullptr);
  return base64_encode({digest, size});
}

std::string base64_encode(std::span<const std::uint8_t> bytes) {
  std::string out(4 * ((bytes.size() + 2) / 3) + 1, '\0');  // EVP_EncodeBlock ends its output with a NUL
  const int size =
      EVP_EncodeBlock(reinterpret_cast<unsigned char*>(out.data()), bytes.data(), static_cast<int>(bytes.size()));
  out.resize(static_cast<std::size_t>(size));
  return out;
}

}  // namespace detail

TlsServerContext::TlsServerContext(std::string certificate_file, std::string key_file)
    : state_(std::make_unique<detail::TlsContextState>()) {
  state_->certificate_file = std::move(certificate_file);
  state_->key_file = std::move(key_file);
}

TlsServerContext::~TlsServerContext() = default;

Result<std::shared_ptr<TlsServerContext>> TlsServerContext::load(std::string certificate_file, std::string key_file) {
  std::shared_ptr<TlsServerContext> context(new TlsServerContext(std::move(certificate_file), std::move(key_file)));
  const Status loaded = context->reload();
  if (!loaded) {
    return loaded.error();
  }
  return context;
}

Status TlsServerContext::reload() {
  auto loaded = detail::load_server_context(state_->certificate_file, state_->key_file);
  if (!loaded) {
    return loaded.error();
  }
  const std::lock_guard lock(state_->mutex);
  state_->context = std::move(*loaded);
  return {};
}

TlsClientContext::TlsClientContext() : state_(std::make_unique<detail::TlsContextState>()) {}
TlsClientContext::~TlsClientContext() = default;

Result<std::shared_ptr<TlsClientContext>> TlsClientContext::create(const TlsClientOptions& options) {
  std::shared_ptr<TlsClientContext> context(new TlsClientContext());
  ERR_clear_error();
  auto ssl_context = detail::new_context(TLS_client_method());
  if (ssl_context == nullptr) {
    return detail::tls_internal("a client context");
  }
  SSL_CTX_set_verify(ssl_context.get(), options.verify_peer ? SSL_VERIFY_PEER : SSL_VERIFY_NONE, nullptr);
  if (options.use_system_cas) {
    SSL_CTX_set_default_verify_paths(ssl_context.get());
  }
  if (!options.extra_ca_file.empty() &&
      SSL_CTX_load_verify_locations(ssl_context.get(), options.extra_ca_file.c_str(), nullptr) != 1) {
    return make_error(ErrorCode::kInvalid, "the CA file '" + options.extra_ca_file +
                                               "' cannot be used: " + detail::take_openssl_error() +
                                               "; expected a readable PEM bundle; correct the path or file");
  }
  context->state_->verify_peer = options.verify_peer;
  context->state_->context = std::move(ssl_context);
  return context;
}

}  // namespace cm::net
