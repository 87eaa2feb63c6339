// SPDX-License-Identifier: MIT
// Certificates made on the spot: an authority, and what it vouches for.
#pragma once

#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>

#include <stdlib.h>

#include <cstdio>
#include <stdexcept>
#include <string>

namespace support {

/// A certificate and its key, as PEM.
struct Identity {
    Identity(std::string certificate, std::string private_key)
        : chain(std::move(certificate)), key(std::move(private_key)) {}
    std::string chain;
    std::string key;
};

/// What a certificate is to say.
struct CertificateRequest {
    explicit CertificateRequest(std::string common_name) : name(std::move(common_name)) {}
    CertificateRequest& alt(std::string text) {
        alt_names = std::move(text);
        return *this;
    }
    CertificateRequest& days(int first, int last) {
        from_day = first;
        to_day = last;
        return *this;
    }
    CertificateRequest& authority() {
        is_authority = true;
        return *this;
    }
    std::string name;
    std::string alt_names;  // as openssl.cnf has them: "DNS:localhost,IP:127.0.0.1"
    int from_day = -1;
    int to_day = 30;
    bool is_authority = false;
};

inline std::string bio_text(BIO* bio) {
    char* data = nullptr;
    const long size = BIO_get_mem_data(bio, &data);
    std::string text(data, static_cast<std::size_t>(size));
    BIO_free(bio);
    return text;
}

/// Vouches for others, or for itself.
class Authority {
public:
    explicit Authority(const CertificateRequest& request) : key_(new_key()) {
        certificate_ = make(request, key_, nullptr, key_);
    }
    Authority(const Authority&) = delete;
    Authority& operator=(const Authority&) = delete;
    ~Authority() {
        X509_free(certificate_);
        EVP_PKEY_free(key_);
    }

    std::string pem() const { return certificate_text(certificate_); }
    Identity own_identity() const { return Identity(pem(), key_text(key_)); }
    Identity issue(const CertificateRequest& request) const {
        EVP_PKEY* const key = new_key();
        X509* const certificate = make(request, key, certificate_, key_);
        Identity identity(certificate_text(certificate), key_text(key));
        X509_free(certificate);
        EVP_PKEY_free(key);
        return identity;
    }

private:
    static EVP_PKEY* new_key() {
        // (EVP_EC_gen is a macro that casts the const of a literal away.)
        static char curve[] = "P-256";
        EVP_PKEY* const key = EVP_PKEY_Q_keygen(nullptr, nullptr, "EC", curve);
        if (!key) throw std::runtime_error("no key was made");
        return key;
    }
    static std::string certificate_text(X509* certificate) {
        BIO* const out = BIO_new(BIO_s_mem());
        PEM_write_bio_X509(out, certificate);
        return bio_text(out);
    }
    static std::string key_text(EVP_PKEY* key) {
        BIO* const out = BIO_new(BIO_s_mem());
        PEM_write_bio_PrivateKey(out, key, nullptr, nullptr, 0, nullptr, nullptr);
        return bio_text(out);
    }
    static void extend(X509* certificate, X509* issuer, int what, const std::string& text) {
        X509V3_CTX context;
        X509V3_set_ctx(&context, issuer ? issuer : certificate, certificate, nullptr, nullptr, 0);
        X509_EXTENSION* const extension =
            X509V3_EXT_conf_nid(nullptr, &context, what, text.c_str());
        if (!extension) throw std::runtime_error("a certificate cannot say " + text);
        X509_add_ext(certificate, extension, -1);
        X509_EXTENSION_free(extension);
    }
    static X509* make(const CertificateRequest& request, EVP_PKEY* key, X509* issuer,
                      EVP_PKEY* issuer_key) {
        static int serial = 0;
        X509* const made = X509_new();
        X509_set_version(made, 2);
        ASN1_INTEGER_set(X509_get_serialNumber(made), ++serial);
        X509_gmtime_adj(X509_getm_notBefore(made), 86400L * request.from_day);
        X509_gmtime_adj(X509_getm_notAfter(made), 86400L * request.to_day);
        X509_set_pubkey(made, key);
        X509_NAME* const name = X509_get_subject_name(made);
        X509_NAME_add_entry_by_txt(name, "CN", MBSTRING_UTF8,
                                   reinterpret_cast<const unsigned char*>(request.name.c_str()), -1,
                                   -1, 0);
        X509_set_issuer_name(made, issuer ? X509_get_subject_name(issuer) : name);
        extend(made, issuer, NID_basic_constraints,
               request.is_authority ? "critical,CA:TRUE" : "CA:FALSE");
        if (!request.alt_names.empty())
            extend(made, issuer, NID_subject_alt_name, request.alt_names);
        X509_sign(made, issuer_key, EVP_sha256());
        return made;
    }

    EVP_PKEY* key_;
    X509* certificate_ = nullptr;
};

/// The one that the tests believe, made once.
inline const Authority& trusted_authority() {
    static const Authority authority(CertificateRequest("weft test root").authority());
    return authority;
}

/// A file that is there as long as this is.
class TemporaryFile {
public:
    explicit TemporaryFile(const std::string& text) {
        const int fd = ::mkstemp(path_);
        if (fd < 0) throw std::runtime_error("no temporary file");
        std::FILE* const file = ::fdopen(fd, "w");
        std::fwrite(text.data(), 1, text.size(), file);
        std::fclose(file);
    }
    TemporaryFile(const TemporaryFile&) = delete;
    TemporaryFile& operator=(const TemporaryFile&) = delete;
    ~TemporaryFile() { std::remove(path_); }
    std::string path() const { return path_; }

private:
    char path_[32] = "/tmp/weft_test_XXXXXX";
};

}  // namespace support
